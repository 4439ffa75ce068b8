"""Files of a language model: a ``transformers`` directory, and an adapter."""

from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.kept_digests import kept_digest
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import read_json
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


def locate_checkpoint(
    path: str,
    *,
    revision: str | None = None,
    adapter: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Location:
    """Find (or fetch) a model's files, check and hash them.

    They must be safe and whole.

    Args:
        path: Local directory, or the name of a model on the Hugging Face hub.
        revision: Commit, tag or branch of a hub model.
        adapter: Directory or hub name of an adapter that belongs to the model.
        allow_pickle: Take pickled weights.
        trust_remote_code: Take a model that brings Python code.

    Raises:
        AuditorError: Nothing is there, weights are pickled, truncated or missing, or the model
            brings its own code; each with the way out.
    """
    model = _directory(path, revision, "model", allow_pickle)
    if (said := why_no_model(path, model)) is not None:
        raise AuditorError(f"model {path} {said}.")
    added = _directory(adapter, None, "adapter", allow_pickle) if adapter else None
    _check_adapter(model)
    files = _checked_files(model, allow_pickle)
    if "config.json" not in files:
        raise AuditorError(f"{model} has no config.json, so it is not a model's directory.")
    notes = () if trust_remote_code else _check_remote_code(model)
    if added is not None:
        if not (added / "adapter_config.json").exists():
            raise AuditorError(f"{added} has no adapter_config.json, so it holds no PEFT adapter.")
        added_files = _checked_files(added, allow_pickle, adapter=True)
        files |= {f"adapter/{k}": v for k, v in added_files.items()}
    return Location(model=model, adapter=added, manifest=Manifest(files=files), notes=notes)


def _directory(name: str, revision: str | None, role: str, allow_pickle: bool) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise AuditorError(
                f"{role} {name} is a directory, and a revision ({revision}) is of a name on the "
                "hub; leave it out, or give the name."
            )
        return path.resolve()
    if (said := why_no_model(name, path)) is not None:
        raise AuditorError(f"{role} {name} {said}.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AuditorError(f"{role} {name}: no such directory.")
    patterns = [*SAFE, *_DESCRIPTION, *(PICKLED if allow_pickle else ())]
    return download(name, revision, patterns, role)


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
