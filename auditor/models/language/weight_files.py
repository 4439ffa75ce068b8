"""Weight files of a folder that the libraries load, and none besides."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import check_truncated, shards
from auditor.models.stored_tensors import header

SAFE = ("*.safetensors",)
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
NOT_THE_MODEL = {"README.md", "training_args.bin", "optimizer.pt", "scheduler.pt"}
_SHOWN = 3


class _Names(NamedTuple):
    """Names under which libraries look for weights."""

    whole: str
    shards: str | None


_MODEL = {"safe": _Names("model.safetensors", "model.safetensors.index.json")}
_MODEL["pickled"] = _Names("pytorch_model.bin", "pytorch_model.bin.index.json")
_ADAPTER = {"safe": _Names("adapter_model.safetensors", None)}
_ADAPTER["pickled"] = _Names("adapter_model.bin", None)


def weight_files(directory: Path, *, adapter: bool, allow_pickle: bool) -> list[Path]:
    """Return the weight files that are loaded from a folder.

    Files that hold other weights and that no library takes for these are left out.

    Args:
        directory: The folder.
        adapter: Whether it is that of an adapter.
        allow_pickle: Whether pickled weights are taken where there are no others.

    Raises:
        AuditorError: There are none, or they are not whole, or it cannot be told from the names
            which ones are loaded, because there is more than one checkpoint.
    """
    safe = matching(directory, SAFE)
    pickled = [p for p in matching(directory, PICKLED) if p.name not in NOT_THE_MODEL]
    if not safe and not pickled:
        if lost := sorted(p.name for p in directory.glob(SAFE[0]) if p.is_symlink()):
            raise AuditorError(
                f"{directory}: {lost[0]} is a link that leads nowhere, as in a cache from which "
                "files were removed. Download the model again, or give a folder with the files."
            )
        raise AuditorError(
            f"{directory} holds no weights: expected *.safetensors beside config.json."
        )
    if not safe and not allow_pickle:
        raise AuditorError(
            f"{directory} holds only pickled weights ({pickled[0].name}), and a pickle can run any "
            "code when it is loaded. Convert it to safetensors, or set `allow_pickle: true` "
            "(--allow-pickle) for this model if you trust its source."
        )
    for file in safe:
        check_truncated(file)
    names = _ADAPTER if adapter else _MODEL
    loaded = _loaded(directory, names["safe"])
    if loaded:
        _check_second(directory, loaded, safe)
        return loaded
    if allow_pickle and (found := _loaded(directory, names["pickled"])):
        return found
    looked_for = [n for kind in names.values() for n in kind if n and ("bin" not in n)]
    raise AuditorError(
        f"{directory} holds {', '.join(p.name for p in (safe or pickled)[:_SHOWN])}, but none of "
        f"{', '.join(sorted(looked_for))}; rename or index the weights, so that what is loaded is "
        "what was hashed."
    )


def matching(directory: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files of a folder with names of given patterns."""
    return sorted(p for pattern in patterns for p in directory.glob(pattern) if p.is_file())


def _loaded(directory: Path, names: _Names) -> list[Path]:
    """Return the files of the one checkpoint under the usual names.

    Raises:
        AuditorError: There are two, or shards are missing.
    """
    whole = directory / names.whole
    index = directory / names.shards if names.shards else None
    if index is None or not index.is_file():
        return [whole] if whole.is_file() else []
    if whole.is_file():
        named = _shards_beside(index, whole)
        if named == [whole.name]:
            return [whole]
        raise AuditorError(
            f"{directory} holds two checkpoints: {whole.name}, and {index.name} with "
            f"{', '.join(named[:_SHOWN])}. Some libraries load the one, some the "
            f"other. Remove the one that is not to be audited ({whole.name}, or {index.name} with "
            "its shards)."
        )
    return [directory / name for name in shards(index)]


def _shards_beside(index: Path, whole: Path) -> list[str]:
    """Names of the shards of an index beside a whole file.

    Raises:
        AuditorError: Shards are missing; the index may be the one that is too much.
    """
    try:
        return shards(index)
    except AuditorError as error:
        raise AuditorError(
            f"{error} Or remove the index, where {whole.name} beside it is the model."
        ) from error


def _check_second(directory: Path, loaded: Sequence[Path], safe: Sequence[Path]) -> None:
    """Refuse tensors that are there twice, and unnamed shards.

    Raises:
        AuditorError: Names the files.
    """
    counts = Counter(name for file in loaded for name in header(file))
    if twice := sorted(name for name, count in counts.items() if count > 1):
        files = [file.name for file in loaded if twice[0] in header(file)]
        raise AuditorError(
            f"{directory}: the tensor {twice[0]} is in {' and in '.join(files)}, and libraries "
            "differ in which one they take. Save the model anew, so that each tensor is there once."
        )
    for file in set(safe) - set(loaded):
        shared = next(iter(counts.keys() & header(file).keys()), None)
        if shared is not None or _is_shard(file):
            raise AuditorError(
                f"{directory} holds {file.name} besides {_listed(loaded)}: a second checkpoint"
                + (f" (both hold {shared})" if shared else ", or a shard that no index names")
                + ". Some libraries load every *.safetensors. Remove the one that is not to be "
                "audited."
            )


def _is_shard(file: Path) -> bool:
    return file.name.startswith(("model", "adapter_model-"))


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(_first(files))


def _first(files: Sequence[Path]) -> Iterator[str]:
    yield from (file.name for file in files[:_SHOWN])
    if len(files) > _SHOWN:
        yield f"{len(files) - _SHOWN} more"
