"""Files beside the weights of a model that are not the original's."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import read_json
from auditor.models.gguf_header import read_header
from auditor.models.manifest import Location, asking_files

SHOWN = 8
"""Most files or settings that a warning names."""
GENERATION = "generation_config.json"
TOKENIZER_SETTINGS = "tokenizer_config.json"
SETTINGS = ("config.json", TOKENIZER_SETTINGS, GENERATION)
"""Files of which settings are compared, since no two releases of a library write them alike."""
_OF_NO_CONSEQUENCE = frozenset(
    {"transformers_version", "_name_or_path", "_commit_hash", "_from_model_config", "use_cache"}
    | {"torch_dtype", "dtype", "_attn_implementation", "pad_token_id"}
    # how answers are drawn, which an audit sets aside
    | {"do_sample", "temperature", "top_k", "top_p", "min_p", "max_length", "max_new_tokens"}
    | {"repetition_penalty", "typical_p"}
    # how a tokenizer was saved
    | {"tokenizer_file", "name_or_path", "special_tokens_map_file", "is_local", "local_files_only"}
)
"""Settings that no answer of an audit depends on."""
_OF_TRAINING = frozenset({"initializer_range", "attention_dropout", "_model_name_or_path"})
"""Further ones, of which a GGUF file says nothing."""


def files_differ(
    arm: str, own: Mapping[str, str], original: Mapping[str, str]
) -> tuple[Message, ...]:
    """Return a warning of files that are not the original's, if any.

    Args:
        arm: The arm.
        own: Digests of its files by name.
        original: Those of the original's.
    """
    names = sorted(n for n in own.keys() | original.keys() if own.get(n) != original.get(n))
    if not names:
        return ()
    return (message("files_differ_from_original", arm=arm, files=names[:SHOWN], count=len(names)),)


def asked_otherwise(arm: str, own: Location, original: Location) -> tuple[Message, ...]:
    """Return warnings of what a model is asked otherwise through.

    They name its tokenizer, templates and code by their files, and its configuration and
    generation settings one by one.
    """
    mine, theirs = (
        {n: d for n, d in asking_files(place.manifest.files).items() if n != GENERATION}
        for place in (own, original)
    )
    # a tokenizer within a file of another form is no file to compare; the token ids tell
    one_file = own.manifest.is_one_file or original.manifest.is_one_file
    found = [] if one_file else [*files_differ(arm, mine, theirs)]
    for file in SETTINGS:
        names = _settings(*(_place(location, file) for location in (own, original)), said=one_file)
        if names:
            found.append(
                message(
                    "settings_differ_from_original",
                    arm=arm,
                    file=file,
                    settings=names[:SHOWN],
                    count=len(names),
                )
            )
    return (*found, *_stored_otherwise(arm, own, original))


def _stored_otherwise(arm: str, own: Location, original: Location) -> tuple[Message, ...]:
    """Return a warning of weights that are stored in another type."""
    mine, theirs = (_usual_type(place) for place in (own, original))
    if mine is None or theirs is None or mine == theirs:
        return ()
    return (message("stored_type_differs", arm=arm, own=mine, original=theirs),)


def _usual_type(location: Location) -> str | None:
    """Return the type in which most of a model's numbers are stored."""
    from auditor.models.stored_tensors import stored_tensors  # numpy, which plans are read without

    if location.gguf is not None:
        return next(iter(read_header(location.gguf).sizes), None)
    sizes: Counter[str] = Counter()
    try:
        for tensor in stored_tensors(location).values():
            sizes[tensor.type] += tensor.size
    except (AuditorError, OSError):
        return None
    return max(sizes, key=lambda name: (sizes[name], name), default=None)


def _place(location: Location, file: str) -> Path:
    """Return where a file of settings lies, beside the model or elsewhere."""
    if file == TOKENIZER_SETTINGS and location.tokenizer is not None:
        return location.tokenizer / file
    return location.model / file


def _settings(own: Path, original: Path, *, said: bool = False) -> list[str]:
    """Return the settings in which two readable files differ.

    Those of a part of a model have its name before them, ``text_config.rope_theta``.

    Args:
        own: File of a model.
        original: That of the original.
        said: Whether those count alone that both say something of: what a library makes of
            another form says more than what was saved.
    """
    try:
        mine, theirs = (_flat(read_json(file)) for file in (own, original))
    except (AuditorError, OSError):
        return []
    names = mine.keys() & theirs.keys() - _OF_TRAINING if said else mine.keys() | theirs.keys()
    differing = {n for n in names if mine.get(n) != theirs.get(n)}
    return sorted(n for n in differing if n.rpartition(".")[2] not in _OF_NO_CONSEQUENCE)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of parts (``text_config``) beside the others."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name.endswith("_config") and isinstance(value, Mapping):
            found |= {f"{name}.{inner}": held for inner, held in value.items()}
        else:
            found[str(name)] = value
    return found
