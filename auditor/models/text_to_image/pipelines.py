"""Which files make a text-to-image pipeline: one choice of weights for each component."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import read_json
from auditor.models.text_to_image.component_files import (
    PICKLED,
    STEMS,
    Component,
    check_remote_code,
    model_component,
    present,
)
from auditor.models.text_to_image.spec import INDEX

_CLASSES = {
    "unet": ("diffusers", {"UNet2DConditionModel"}),
    "vae": ("diffusers", {"AutoencoderKL"}),
    "text_encoder": ("transformers", {"CLIPTextModel", "CLIPTextModelWithProjection"}),
    "text_encoder_2": ("transformers", {"CLIPTextModelWithProjection"}),
    "tokenizer": ("transformers", None),
    "tokenizer_2": ("transformers", None),
    "scheduler": ("diffusers", None),
}
"""Component to its library and the classes that are opened; None: any of the library's own."""
_NEEDED = ("unet", "text_encoder", "tokenizer", "scheduler")
_SET_ASIDE = ("safety_checker", "feature_extractor", "image_encoder", "watermark")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_HUB_DESCRIPTION = ("*.json", "*.txt")


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's directory and its components."""

    directory: Path
    components: Mapping[str, Component]
    notes: tuple[str, ...]
    """What was chosen where there was a choice, and what was set aside."""

    @property
    def files(self) -> dict[str, Path]:
        """Everything that is loaded, by its name in the pipeline's directory."""
        found = {INDEX: self.directory / INDEX}
        for component in self.components.values():
            for file in component.files.values():
                found[f"{component.name}/{file.name}"] = file
        return found


def find_pipeline(name: str, revision: str | None = None, allow_pickle: bool = False) -> Pipeline:
    """Find (or fetch) a pipeline and choose what is loaded of it.

    For each component these are its configuration and its plain weights; a variant (``fp16``,
    ``non_ema``) only where it is alone. Safety checkers are set aside.

    Args:
        name: directory, or the name of a pipeline on the hub.
        revision: commit, tag or branch on the hub.
        allow_pickle: take ``.bin`` weights where there are no others.

    Raises:
        AuditorError: a component or file is missing, pickled, truncated, of an unknown class, or
            there is more than one choice; names it.
    """
    directory = _directory(name, revision, allow_pickle)
    index = directory / INDEX
    if not index.is_file():
        raise AuditorError(
            f"{directory} has no {INDEX}, so it is not a diffusers pipeline. Give the directory "
            "that `save_pretrained` wrote; a UNet or a state dict alone is a `replacement`."
        )
    parts, aside = _parts(index)
    components = {
        part: _component(part, library, class_name, directory / part, allow_pickle)
        for part, (library, class_name) in parts.items()
    }
    notes = [f"{part} was set aside" for part in aside]
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
    plain = [f"*/{stem}.safetensors" for stem in STEMS.values()]
    plain += [f"*/{stem}-*-of-*.safetensors" for stem in STEMS.values()]
    pickled = [f"*/{file}" for file in PICKLED.values()] if allow_pickle else []
    directory = _snapshot(name, revision, [*_HUB_DESCRIPTION, *plain, *pickled])
    if lacking := [part for part in ("unet", "text_encoder") if not _weighty(directory / part)]:
        # a repository of one variant only
        more = [f"{part}/*.safetensors" for part in (*lacking, "vae", "text_encoder_2")]
        directory = _snapshot(name, revision, [*_HUB_DESCRIPTION, *plain, *pickled, *more])
    return directory


def _weighty(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


def _snapshot(name: str, revision: str | None, patterns: Iterable[str]) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise AuditorError(
            f"pipeline {name} is neither a local directory nor can it be had from the hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error


def _parts(index: Path) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Component to library and class, and the names of those that are set aside."""
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
    if missing := [part for part in _NEEDED if part not in parts]:
        raise AuditorError(
            f"{index} names no {', '.join(missing)}; a text-to-image model needs it."
        )
    if ("text_encoder_2" in parts) != ("tokenizer_2" in parts):
        raise AuditorError(f"{index} names only one of text_encoder_2 and tokenizer_2.")
    return parts, aside


def _component(
    name: str, library: str, class_name: str, folder: Path, allow_pickle: bool
) -> Component:
    if not folder.is_dir():
        raise AuditorError(
            f"the component {name} is missing: {folder} is not there, but {INDEX} names it. "
            "Download the pipeline again."
        )
    if name == "scheduler":
        return Component(
            name, library, class_name, folder, present(folder, ("scheduler_config.json",))
        )
    if name.startswith("tokenizer"):
        files = {f: folder / f for f in _TOKENIZER_FILES if (folder / f).is_file()}
        if "tokenizer.json" not in files and not {"vocab.json", "merges.txt"} <= files.keys():
            raise AuditorError(
                f"{folder} holds neither tokenizer.json nor vocab.json with merges.txt."
            )
        check_remote_code(folder / "tokenizer_config.json")
        return Component(name, library, class_name, folder, files)
    return model_component(name, library, class_name, folder, allow_pickle)
