"""Files of a language model: a ``transformers`` directory, and an adapter."""

from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.kept_digests import kept_digest
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import read_json
from auditor.models.gguf_header import SUFFIX, read_header
from auditor.models.hub import download
from auditor.models.language.weight_files import (
    NOT_THE_MODEL,
    PICKLED,
    SAFE,
    matching,
    weight_files,
)
from auditor.models.manifest import TEMPLATES, Location, Manifest
from auditor.models.no_model import why_no_model

_DESCRIPTION = (
    *("*.json", "*.txt", "*.model", "*.jinja", "*.py", f"{TEMPLATES}/*.jinja"),
    *("*.spm", "*.tiktoken", "*.codes", "*.bpe", "*.tokenizer"),
)
_SHOWN = 3
"""Most names that a message lists."""


def locate_checkpoint(
    path: str,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    adapter: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Location:
    """Find (or fetch) a model's files, check and hash them.

    They must be safe and whole.

    Args:
        path: Local directory or GGUF file, or the name of a model on the Hugging Face hub.
        revision: Commit, tag or branch of a hub model.
        gguf_file: Name of the GGUF file in it that is the model.
        adapter: Directory or hub name of an adapter that belongs to the model.
        allow_pickle: Take pickled weights.
        trust_remote_code: Take a model that brings Python code.

    Raises:
        AuditorError: Nothing is there, weights are pickled, truncated or missing, or the model
            brings its own code; each with the way out.
    """
    model = _directory(path, revision, "model", allow_pickle, gguf_file)
    if (said := why_no_model(path, model)) is not None:
        raise AuditorError(f"model {path} {said}.")
    added = _directory(adapter, None, "adapter", allow_pickle) if adapter else None
    if (file := _gguf_file(model, gguf_file)) is not None:
        return _of_gguf(file, added, allow_pickle)
    _check_adapter(model)
    files = _checked_files(model, allow_pickle)
    if "config.json" not in files:
        raise AuditorError(f"{model} has no config.json, so it is not a model's directory.")
    notes = () if trust_remote_code else _check_remote_code(model)
    files |= _adapter_files(added, allow_pickle)
    return Location(model=model, adapter=added, manifest=Manifest(files=files), notes=notes)


def _of_gguf(file: Path, adapter: Path | None, allow_pickle: bool) -> Location:
    """Check, hash and describe a model that is a GGUF file."""
    from auditor.models.language.gguf_files import described  # torch, which other files do without

    header = read_header(file)
    own = kept_digest(file)
    return Location(
        model=described(file, own, header),
        adapter=adapter,
        gguf=file,
        manifest=Manifest(files={file.name: own} | _adapter_files(adapter, allow_pickle)),
        notes=(message("read_from_gguf", file=file.name, types=list(header.sizes)[:_SHOWN]),),
    )


def _adapter_files(adapter: Path | None, allow_pickle: bool) -> dict[str, str]:
    """Check and hash the files of an adapter, if there is one."""
    if adapter is None:
        return {}
    if not (adapter / "adapter_config.json").exists():
        raise AuditorError(f"{adapter} has no adapter_config.json, so it holds no PEFT adapter.")
    found = _checked_files(adapter, allow_pickle, adapter=True)
    return {f"adapter/{name}": own for name, own in found.items()}


def _gguf_file(model: Path, name: str | None) -> Path | None:
    """Return the GGUF file that is the model, or None.

    In a directory it is the one that is named, or else the only one, where there are no other
    weights.

    Raises:
        AuditorError: There is none of that name, or more than one.
    """
    if model.is_file():
        if name not in (None, model.name):
            raise AuditorError(f"{model} is a file, and `gguf_file` names another ({name}).")
        return model
    if name is not None:
        if not (model / name).is_file():
            raise AuditorError(f"{model} holds no file {name} (`gguf_file`).")
        return model / name
    if any(p.name not in NOT_THE_MODEL for p in matching(model, (*SAFE, *PICKLED))):
        return None
    found = [p for p in sorted(model.iterdir()) if p.suffix.lower() == SUFFIX and p.is_file()]
    if len(found) > 1:
        listed = ", ".join(file.name for file in found[:_SHOWN])
        raise AuditorError(
            f"{model} holds {len(found)} GGUF files ({listed}{', …' if found[_SHOWN:] else ''}); "
            "say which one is the model: its whole path, or `gguf_file` with its name."
        )
    return found[0] if found else None


def _directory(
    name: str, revision: str | None, role: str, allow_pickle: bool, gguf_file: str | None = None
) -> Path:
    path = Path(name).expanduser()
    if path.is_dir() or (path.suffix.lower() == SUFFIX and path.is_file()):
        if revision is not None:
            raise AuditorError(
                f"{role} {name} is a {'directory' if path.is_dir() else 'file'}, and a revision "
                f"({revision}) is of a name on the hub; leave it out, or give the name."
            )
        return path.resolve()
    if (said := why_no_model(name, path)) is not None:
        raise AuditorError(f"{role} {name} {said}.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AuditorError(f"{role} {name}: no such directory.")
    patterns = [*SAFE, *_DESCRIPTION, *(PICKLED if allow_pickle else ())]
    return download(name, revision, [gguf_file] if gguf_file else patterns, role)


def _checked_files(directory: Path, allow_pickle: bool, *, adapter: bool = False) -> dict[str, str]:
    weights = weight_files(directory, adapter=adapter, allow_pickle=allow_pickle)
    description = [p for p in matching(directory, _DESCRIPTION) if p.name not in NOT_THE_MODEL]
    _check_pointer(directory)
    found = sorted({*weights, *description})
    return {p.relative_to(directory).as_posix(): kept_digest(p) for p in found}


def _check_pointer(directory: Path) -> None:
    """Refuse a configuration that points to weights elsewhere."""
    config = directory / "config.json"
    if config.exists() and "transformers_weights" in read_json(config):
        raise AuditorError(
            f"{config} points to other weights (transformers_weights); an audit takes only those "
            "that lie beside it under their usual name."
        )


def _check_adapter(directory: Path) -> None:
    # transformers would apply it, or follow its base_model_name_or_path to files nobody hashed
    if (directory / "adapter_config.json").exists():
        raise AuditorError(
            f"{directory} holds a PEFT adapter (adapter_config.json), not only a model. Give the "
            "base model as `path` and the adapter's own directory as `adapter`."
        )


def _check_remote_code(directory: Path) -> tuple[Message, ...]:
    """Refuse a model that only opens with code of its own.

    Returns:
        A note where such code is there and is not run, because ``transformers`` has its own.

    Raises:
        AuditorError: Names the file that asks for the code.
    """
    named = [
        file
        for name in ("config.json", "tokenizer_config.json")
        if (file := directory / name).exists() and "auto_map" in read_json(file)
    ]
    if not named:
        return ()
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    own = read_json(directory / "config.json").get("model_type")
    if own in CONFIG_MAPPING_NAMES:
        return (message("own_code_not_run", type=str(own)),)
    raise AuditorError(
        f"{named[0]} asks for Python code that comes with the model (auto_map). Set "
        "`trust_remote_code: true` (--trust-remote-code) if you have read that code."
    )
