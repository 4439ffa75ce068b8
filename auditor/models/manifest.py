"""Which files make a model, and their sha256 digests."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from pydantic import BaseModel, ConfigDict

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest, digest_file
from auditor.models.checkpoint_files import check_truncated, read_json
from auditor.models.spec import ModelSpec
from auditor.models.text_to_image.pipeline_files import find_pipeline
from auditor.models.text_to_image.replacement_files import find_replacement

_SAFE = ("*.safetensors",)
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_DESCRIPTION = ("*.json", "*.txt", "*.model", "*.jinja", "*.py")
_NOT_THE_MODEL = {"README.md", "training_args.bin", "optimizer.pt", "scheduler.pt"}


class Manifest(BaseModel):
    """The identity of a model: its files' digests, and one digest over them all."""

    model_config = ConfigDict(frozen=True)

    files: dict[str, str]
    """Relative file name to sha256 (hex). An adapter's files stand under ``adapter/``, those of a
    text-to-image model's replacement under ``replacement/``."""

    @property
    def digest(self) -> str:
        """Sha256 (hex) over the sorted list of names and digests."""
        return digest(self.files)

    @property
    def weights_digest(self) -> str:
        """The same over the weight files alone, whatever else lies beside them."""
        endings = tuple(pattern.removeprefix("*") for pattern in (*_SAFE, *_PICKLED))
        return digest({k: v for k, v in self.files.items() if k.endswith(endings)})


class Location(BaseModel):
    """A subject's files on this machine."""

    model_config = ConfigDict(frozen=True)

    model: Path
    adapter: Path | None
    manifest: Manifest
    replacement: Path | None = None
    """File or directory that replaces weights of a text-to-image model."""
    notes: tuple[str, ...] = ()
    """What was chosen where the model's directory left a choice, and what was set aside."""


def locate(spec: ModelSpec) -> Location:
    """Find (or fetch) the files of a subject, check that they are safe and whole, hash them.

    Raises:
        AuditorError: nothing is there, weights are pickled, truncated or missing, or the model
            brings its own code; each with the way out.
    """
    if spec.kind == "text-to-image":
        return _locate_pipeline(spec)
    model = _directory(spec.path, spec.revision, "model", spec.allow_pickle)
    adapter = _directory(spec.adapter, None, "adapter", spec.allow_pickle) if spec.adapter else None
    _check_adapter(model)
    files = _checked_files(model, spec)
    if "config.json" not in files:
        raise AuditorError(f"{model} has no config.json, so it is not a model's directory.")
    if not spec.trust_remote_code:
        _check_remote_code(model)
    if adapter is not None:
        files |= {f"adapter/{k}": v for k, v in _checked_files(adapter, spec).items()}
    return Location(model=model, adapter=adapter, manifest=Manifest(files=files))


def _locate_pipeline(spec: ModelSpec) -> Location:
    pipeline = find_pipeline(spec.path, spec.revision, spec.allow_pickle)
    files = pipeline.files
    replacement = None
    if spec.replacement:
        replacement = find_replacement(spec.replacement, spec.allow_pickle)
    if replacement is not None:
        files |= {f"replacement/{file.name}": file for file in replacement.files}
    return Location(
        model=pipeline.directory,
        adapter=None,
        manifest=Manifest(files={name: digest_file(file) for name, file in sorted(files.items())}),
        replacement=replacement.path if replacement else None,
        notes=pipeline.notes + (replacement.notes if replacement else ()),
    )


def _directory(name: str, revision: str | None, role: str, allow_pickle: bool) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise AuditorError(f"{role} {name} is a file; give the directory that holds it.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AuditorError(f"{role} {name}: no such directory.")
    patterns = [*_SAFE, *_DESCRIPTION, *(_PICKLED if allow_pickle else ())]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise AuditorError(
            f"{role} {name} is neither a local directory nor can it be had from the hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error


def _checked_files(directory: Path, spec: ModelSpec) -> dict[str, str]:
    safe = _matching(directory, _SAFE)
    pickled = [p for p in _matching(directory, _PICKLED) if p.name not in _NOT_THE_MODEL]
    if not safe and not pickled:
        raise AuditorError(
            f"{directory} holds no weights: expected *.safetensors beside config.json."
        )
    if not safe and not spec.allow_pickle:
        raise AuditorError(
            f"{directory} holds only pickled weights ({pickled[0].name}), and a pickle can run any "
            "code when it is loaded. Convert it to safetensors, or set `allow_pickle: true` "
            "(--allow-pickle) for this model if you trust its source."
        )
    for file in safe:
        check_truncated(file)
    _check_missing_shards(directory, {p.name for p in safe})
    _check_unnamed_weights(directory, {p.name for p in safe}, spec.allow_pickle)
    weights = [*safe, *(pickled if spec.allow_pickle else ())]
    description = [p for p in _matching(directory, _DESCRIPTION) if p.name not in _NOT_THE_MODEL]
    return {p.name: digest_file(p) for p in sorted({*weights, *description})}


def _check_unnamed_weights(directory: Path, safe: set[str], allow_pickle: bool) -> None:
    """What is loaded must be what is hashed: only the names that the libraries look for."""
    looked_for = {
        "model.safetensors",
        "model.safetensors.index.json",
        "adapter_model.safetensors",
    }
    present = safe | {p.name for p in directory.glob("*.index.json")}
    if not allow_pickle and not looked_for & present:
        raise AuditorError(
            f"{directory} holds {', '.join(sorted(safe))}, but none of "
            f"{', '.join(sorted(looked_for))}; rename or index the weights, so that "
            "what is loaded is what was hashed."
        )
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


def _matching(directory: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted(p for pattern in patterns for p in directory.glob(pattern) if p.is_file())


def _check_missing_shards(directory: Path, present: set[str]) -> None:
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return
    wanted = set(read_json(index).get("weight_map", {}).values())
    if missing := sorted(wanted - present):
        raise AuditorError(
            f"{index} names shards that are not there: {', '.join(missing)}. Download them again."
        )


def _check_remote_code(directory: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        file = directory / name
        if file.exists() and "auto_map" in read_json(file):
            raise AuditorError(
                f"{file} asks for Python code that comes with the model (auto_map). Set "
                "`trust_remote_code: true` (--trust-remote-code) if you have read that code."
            )
