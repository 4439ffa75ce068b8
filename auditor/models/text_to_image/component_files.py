"""Which files one network of a pipeline is loaded from: configuration, one set of weights."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import check_truncated, read_json, shards

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
PICKLED = {"diffusers": "diffusion_pytorch_model.bin", "transformers": "pytorch_model.bin"}


@dataclass(frozen=True)
class Component:
    """One part of a pipeline, and the files that it is loaded from."""

    name: str
    library: str
    class_name: str
    folder: Path
    files: Mapping[str, Path]
    """The name that the library looks for, to the file."""
    notes: tuple[str, ...] = ()

    @property
    def renamed(self) -> bool:
        """Whether the library would look for another name than the file has."""
        return any(name != file.name for name, file in self.files.items())


def model_component(
    name: str, library: str, class_name: str, folder: Path, allow_pickle: bool
) -> Component:
    """The configuration and the weights of one network, as its library looks for them.

    Raises:
        AuditorError: a file is missing, pickled or truncated, or there is more than one choice.
    """
    configuration = present(folder, ("config.json",))
    check_remote_code(folder / "config.json")
    if (folder / "adapter_config.json").exists():
        # transformers would apply it on its own, from files that nobody hashed
        raise AuditorError(
            f"{folder} holds an adapter (adapter_config.json); give it as `replacement`."
        )
    content = read_json(folder / "config.json")
    if "transformers_weights" in content:
        raise AuditorError(
            f"{folder / 'config.json'} points to other weights (transformers_weights); an audit "
            "takes only those that lie beside it under their usual name."
        )
    if content.get("quantization_config"):
        raise AuditorError(
            f"{folder} is quantized already; an audit of a pipeline starts from the weights before."
        )
    weights, notes = _weights(folder, library, allow_pickle)
    return Component(
        name,
        library,
        class_name,
        folder,
        configuration | weights,
        tuple(f"{name}: {note}" for note in notes),
    )


def present(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The named files of a folder.

    Raises:
        AuditorError: one of them is not there.
    """
    files = {name: folder / name for name in names}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        raise AuditorError(f"{folder} has no {', '.join(missing)}. Download the pipeline again.")
    return files


def check_remote_code(config: Path) -> None:
    """Refuse a configuration that asks for code of its own.

    Raises:
        AuditorError: it does (auto_map).
    """
    if config.is_file() and "auto_map" in read_json(config):
        raise AuditorError(
            f"{config} asks for Python code that comes with the model (auto_map); an audit of a "
            "pipeline runs no such code."
        )


def _weights(folder: Path, library: str, allow_pickle: bool) -> tuple[dict[str, Path], list[str]]:
    """Name that the library looks for to file, and what was left aside."""
    stem = STEMS[library]
    variants = _variants(folder, stem)
    if not variants:
        return _pickled(folder, library, allow_pickle)
    if None not in variants and len(variants) > 1:
        raise AuditorError(
            f"{folder} holds the weights as {' and as '.join(sorted(map(str, variants)))}, but "
            "none under the plain name; keep the one that is meant."
        )
    chosen = None if None in variants else next(iter(variants))
    notes = [f"the weights are those of the variant {chosen}"] if chosen else []
    if left := sorted(str(v) for v in variants if v != chosen):
        notes.append(f"the plain weights were taken, not the variant {', '.join(left)}")
    return _complete(folder, stem, chosen, variants[chosen]), notes


def _variants(folder: Path, stem: str) -> dict[str | None, list[Path]]:
    name = re.compile(
        rf"{stem}(?:\.(?P<variant>[^.]+?))?(?:-\d+-of-\d+)?\.safetensors"
        r"(?:\.index(?:\.(?P<other>[^.]+))?\.json)?"
    )
    found: dict[str | None, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and (match := name.fullmatch(file.name)):
            found.setdefault(match["variant"] or match["other"], []).append(file)
    return found


def _complete(folder: Path, stem: str, variant: str | None, files: list[Path]) -> dict[str, Path]:
    single = folder / f"{stem}{'.' + variant if variant else ''}.safetensors"
    indices = [file for file in files if file.suffix == ".json"]
    if len(indices) + (single in files) > 1:
        names = ", ".join(file.name for file in [*indices, single])
        raise AuditorError(f"{folder} holds the same weights twice ({names}); keep one of them.")
    if indices:
        found = {f"{stem}.safetensors.index.json": indices[0]}
        found |= {name: folder / name for name in shards(indices[0])}
    elif single in files:
        found = {f"{stem}.safetensors": single}
    else:
        raise AuditorError(
            f"{folder} holds shards ({files[0].name}), but no index that says what is in them."
        )
    for file in found.values():
        if file.suffix == ".safetensors":
            check_truncated(file)
    return found


def _pickled(folder: Path, library: str, allow_pickle: bool) -> tuple[dict[str, Path], list[str]]:
    pickled = folder / PICKLED[library]
    if not pickled.is_file():
        others = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise AuditorError(
            f"{folder} holds no weights: expected {STEMS[library]}.safetensors, found {others}."
        )
    if not allow_pickle:
        raise AuditorError(
            f"{folder} holds only pickled weights ({pickled.name}), and a pickle can run any code "
            "when it is loaded. Convert it to safetensors, or set `allow_pickle: true` "
            "(--allow-pickle) for this model if you trust its source."
        )
    return {pickled.name: pickled}, []
