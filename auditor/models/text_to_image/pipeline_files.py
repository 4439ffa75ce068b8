"""Files of a text-to-image pipeline, one choice of weights per component.

``DiffusionPipeline.from_pretrained`` would choose, too, but looks at whatever lies there, loads
classes that the index names, and tells of no weight that is missing or left over. So the choice is
made here, is what is hashed, and is all that the libraries are then shown.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import check_truncated, read_json, shards
from auditor.models.hub import download
from auditor.models.text_to_image.spec import INDEX

_CLIP, _PROJECTED, _T5 = "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"
_CLASSES = {
    "unet": ("diffusers", {"UNet2DConditionModel"}),
    "transformer": ("diffusers", {"SD3Transformer2DModel", "FluxTransformer2DModel"}),
    "vae": ("diffusers", {"AutoencoderKL"}),
    "text_encoder": ("transformers", {_CLIP, _PROJECTED}),
    "text_encoder_2": ("transformers", {_PROJECTED, _T5}),
    "text_encoder_3": ("transformers", {_T5}),
    "tokenizer": ("transformers", None),
    "tokenizer_2": ("transformers", None),
    "tokenizer_3": ("transformers", None),
    "scheduler": ("diffusers", None),
}
"""Library and opened classes of each component; None stands for any of the library's own."""
DENOISERS = ("unet", "transformer")
"""Names of the component that predicts noise or a flow; a pipeline has one."""
_ENCODERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "UNet2DConditionModel": ((_CLIP,), (_PROJECTED,), (_CLIP, _PROJECTED), (_PROJECTED,) * 2),
    "SD3Transformer2DModel": ((_PROJECTED, _PROJECTED, _T5),),
    "FluxTransformer2DModel": ((_CLIP, _T5),),
}
"""Classes of the text encoders that each class of denoisers is opened with."""
DENOISER_CLASSES = tuple(_ENCODERS)
"""Classes of denoisers that are opened."""
_NEEDED = ("text_encoder", "tokenizer", "scheduler")
_SET_ASIDE = ("safety_checker", "feature_extractor", "image_encoder", "watermark")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
_PICKLED = {"diffusers": "diffusion_pytorch_model.bin", "transformers": "pytorch_model.bin"}


@dataclass(frozen=True)
class Component:
    """A part of a pipeline, with the files of its weights.

    They are all that it is loaded from.

    Attributes:
        name: Name in the pipeline.
        library: ``diffusers`` or ``transformers``.
        class_name: The library's class.
        folder: Where the files lie.
        files: The name that the library looks for, to the file.
        notes: What was chosen where there was a choice.
    """

    name: str
    library: str
    class_name: str
    folder: Path
    files: Mapping[str, Path]
    notes: tuple[Message, ...] = ()

    @property
    def renamed(self) -> bool:
        """Whether the library would look for another name than the file has."""
        return any(name != file.name for name, file in self.files.items())


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's directory and its components.

    Attributes:
        directory: Holds the index, and a folder a component.
        components: By name.
        notes: What was chosen where there was a choice, and what was set aside.
    """

    directory: Path
    components: Mapping[str, Component]
    notes: tuple[Message, ...]

    @property
    def files(self) -> dict[str, Path]:
        """Everything that is loaded, by its name in the pipeline's directory."""
        return {INDEX: self.directory / INDEX} | {
            f"{component.name}/{file.name}": file
            for component in self.components.values()
            for file in component.files.values()
        }


def find_pipeline(name: str, revision: str | None = None, allow_pickle: bool = False) -> Pipeline:
    """Find (or fetch) a pipeline and choose what is loaded of it.

    For each component these are its configuration and its plain weights; a variant (``fp16``,
    ``non_ema``) only where it is alone. Safety checkers are set aside.

    Args:
        name: Directory, or the name of a pipeline on the hub.
        revision: Commit, tag or branch on the hub.
        allow_pickle: Take ``.bin`` weights where there are no others.

    Raises:
        AuditorError: A component or file is missing, pickled, truncated, of an unknown class, or
            there is more than one choice; names it.
    """
    directory = _directory(name, revision, allow_pickle)
    index = directory / INDEX
    if not index.is_file():
        raise AuditorError(
            f"{directory} has no {INDEX}, so it is not a diffusers pipeline. Give the directory "
            "that `save_pretrained` wrote; a denoiser or a state dict alone is a `replacement`."
        )
    parts, aside = _parts(index)
    components = {
        part: _component(part, library, class_name, directory / part, allow_pickle)
        for part, (library, class_name) in parts.items()
    }
    notes = [message("component_set_aside", component=part) for part in aside]
    notes += [note for component in components.values() for note in component.notes]
    return Pipeline(directory, components, tuple(notes))


def _directory(name: str, revision: str | None, allow_pickle: bool) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise AuditorError(
            f"pipeline {name} is a file; give the pipeline's directory as `path`, and a single "
            "file of weights as `replacement`."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AuditorError(f"pipeline {name}: no such directory.")
    patterns = ["*.json", "*.txt", "*/spiece.model"]
    for stem in _STEMS.values():
        patterns += [f"*/{stem}.safetensors", f"*/{stem}-*-of-*.safetensors"]
    if allow_pickle:
        patterns += [f"*/{file}" for file in _PICKLED.values()]
    directory = download(name, revision, patterns, "pipeline")
    endings = (".safetensors", ".bin")
    weighty = {file.parent.name for file in directory.glob("*/*") if file.suffix in endings}
    if "text_encoder" not in weighty or not weighty & set(DENOISERS):  # one variant only
        patterns += [f"{part}/*.safetensors" for part in _CLASSES if part not in weighty]
        directory = download(name, revision, patterns, "pipeline")
    return directory


def _parts(index: Path) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Return the library and class of each component.

    The second value has the names of those that are set aside.
    """
    content = read_json(index)
    if not isinstance(content.get("_class_name"), str):
        raise AuditorError(
            f"{index} asks for Python code that comes with the pipeline (_class_name is "
            f"{content.get('_class_name')!r}); an audit runs no such code."
        )
    parts, aside = {}, []
    for part, said in content.items():
        if part.startswith("_") or not isinstance(said, list) or said in ([None, None], []):
            continue
        if part in _SET_ASIDE:
            aside.append(part)
            continue
        if part not in _CLASSES:
            raise AuditorError(
                f"{index} has a component {part} ({said[-1]}), which is not known here; an audit "
                f"opens pipelines of {', '.join(_CLASSES)}."
            )
        library, classes = _CLASSES[part]
        if len(said) != 2 or said[0] != library:
            raise AuditorError(
                f"{index} takes {part} from {said[0]!r}: Python code that does not come with "
                f"{library}. An audit runs no such code."
            )
        if classes is not None and said[1] not in classes:
            raise AuditorError(
                f"{index}: {part} is a {said[1]}; an audit opens {', '.join(sorted(classes))}."
            )
        parts[part] = (library, str(said[1]))
    _check_missing(index, parts)
    return parts, aside


def _check_missing(index: Path, parts: Mapping[str, tuple[str, str]]) -> None:
    """Refuse components that make no whole pipeline, or more than one."""
    missing = [part for part in _NEEDED if part not in parts]
    found = [part for part in DENOISERS if part in parts]
    if not found:
        missing.insert(0, "unet")
    if "transformer" in found and "vae" not in parts:
        missing.append("vae")
    if missing:
        raise AuditorError(
            f"{index} names no {', '.join(missing)}; a text-to-image model needs it."
        )
    if len(found) > 1:
        raise AuditorError(f"{index} names both a UNet and a transformer; a pipeline has one.")
    for number in ("_2", "_3"):
        if (f"text_encoder{number}" in parts) != (f"tokenizer{number}" in parts):
            raise AuditorError(
                f"{index} names only one of text_encoder{number} and tokenizer{number}."
            )
    _check_encoders(index, parts, parts[found[0]][1])


def _check_encoders(index: Path, parts: Mapping[str, tuple[str, str]], denoiser: str) -> None:
    """Refuse text encoders that a denoiser is not opened with."""
    encoders = tuple(parts[part][1] for part in sorted(parts) if part.startswith("text_encoder"))
    if encoders not in _ENCODERS[denoiser]:
        wanted = " or ".join(" + ".join(each) for each in _ENCODERS[denoiser])
        raise AuditorError(
            f"{index}: a {denoiser} has the text encoders {wanted}, not {' + '.join(encoders)}."
        )


def _component(
    name: str, library: str, class_name: str, folder: Path, allow_pickle: bool
) -> Component:
    if not folder.is_dir():
        raise AuditorError(
            f"the component {name} is missing: {folder} is not there, but {INDEX} names it. "
            "Download the pipeline again."
        )
    if name == "scheduler":
        files = present(folder, ("scheduler_config.json",))
    elif name.startswith("tokenizer"):
        files = {f: folder / f for f in _TOKENIZER_FILES if (folder / f).is_file()}
        if not files.keys() & {"tokenizer.json", "spiece.model"} and not (
            {"vocab.json", "merges.txt"} <= files.keys()
        ):
            raise AuditorError(
                f"{folder} holds neither tokenizer.json nor vocab.json with merges.txt."
            )
        if "tokenizer_config.json" in files:
            _check_remote_code(files["tokenizer_config.json"])
    else:
        return network_component(name, library, class_name, folder, allow_pickle)
    return Component(name, library, class_name, folder, files)


def network_component(
    name: str, library: str, class_name: str, folder: Path, allow_pickle: bool
) -> Component:
    """Return the configuration and the weights of one network.

    The files are those that its library looks for.

    Raises:
        AuditorError: A file is missing, pickled or truncated, or there is more than one choice.
    """
    files = present(folder, ("config.json",))
    _check_remote_code(files["config.json"])
    if (folder / "adapter_config.json").exists():
        # transformers would apply it on its own, from files that nobody hashed
        raise AuditorError(
            f"{folder} holds an adapter (adapter_config.json); give it as `replacement`."
        )
    content = read_json(files["config.json"])
    if "transformers_weights" in content:
        raise AuditorError(
            f"{files['config.json']} points to other weights (transformers_weights); an audit "
            "takes only those that lie beside it under their usual name."
        )
    if content.get("quantization_config"):
        raise AuditorError(
            f"{folder} is quantized already; an audit of a pipeline starts from the weights before."
        )
    variants = _variants(folder, library)
    if None not in variants and len(variants) > 1:
        raise AuditorError(
            f"{folder} holds the weights as {' and as '.join(sorted(map(str, variants)))}, but "
            "none under the plain name; keep the one that is meant."
        )
    if not variants:
        files |= _pickled(folder, library, allow_pickle)
    chosen = None if None in variants else next(iter(variants), None)
    notes = [message("variant_taken", component=name, variant=chosen)] if chosen else []
    if variants:
        files |= _whole(folder, library, chosen, variants[chosen])
        if left := sorted(str(v) for v in variants if v != chosen):
            notes.append(message("plain_weights_taken", component=name, variants=left))
    return Component(name, library, class_name, folder, files, tuple(notes))


def present(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The named files of a folder.

    Raises:
        AuditorError: One of them is not there.
    """
    files = {name: folder / name for name in names}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        raise AuditorError(f"{folder} has no {', '.join(missing)}. Download the pipeline again.")
    return files


def _check_remote_code(config: Path) -> None:
    if "auto_map" in read_json(config):
        raise AuditorError(
            f"{config} asks for Python code that comes with the model (auto_map); an audit of a "
            "pipeline runs no such code."
        )


def _variants(folder: Path, library: str) -> dict[str | None, list[Path]]:
    """Variant to its weights and indices; None is the plain one."""
    name = re.compile(
        rf"{_STEMS[library]}(?:\.(?P<variant>[^.]+?))?(?:-\d+-of-\d+)?\.safetensors"
        r"(?:\.index(?:\.(?P<other>[^.]+))?\.json)?"
    )
    found: dict[str | None, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and (match := name.fullmatch(file.name)):
            found.setdefault(match["variant"] or match["other"], []).append(file)
    return found


def _whole(folder: Path, library: str, variant: str | None, files: list[Path]) -> dict[str, Path]:
    """One variant's weights under the plain names that its library looks for."""
    stem = _STEMS[library]
    single = folder / f"{stem}{'.' + variant if variant else ''}.safetensors"
    indices = [file for file in files if file.suffix == ".json"]
    if len(indices) + (single in files) > 1:
        names = ", ".join(file.name for file in [*indices, single])
        raise AuditorError(f"{folder} holds the same weights twice ({names}); keep one of them.")
    if single in files:
        weights, index = {f"{stem}.safetensors": single}, {}
    elif indices:
        weights = {name: folder / name for name in shards(indices[0])}
        index = {f"{stem}.safetensors.index.json": indices[0]}
    else:
        raise AuditorError(
            f"{folder} holds shards ({files[0].name}), but no index that says what is in them."
        )
    for file in weights.values():
        check_truncated(file)
    return index | weights


def _pickled(folder: Path, library: str, allow_pickle: bool) -> dict[str, Path]:
    pickled = folder / _PICKLED[library]
    if not pickled.is_file():
        others = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise AuditorError(
            f"{folder} holds no weights: expected {_STEMS[library]}.safetensors, found {others}."
        )
    if not allow_pickle:
        raise AuditorError(
            f"{folder} holds only pickled weights ({pickled.name}), and a pickle can run any code "
            "when it is loaded. Convert it to safetensors, or set `allow_pickle: true` "
            "(--allow-pickle) for this model if you trust its source."
        )
    return {pickled.name: pickled}
