"""Files beside the weights of a model that are not the original's."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import read_json
from auditor.models.manifest import Location, asking_files

SHOWN = 8
"""Most files or settings that a warning names."""
CONFIGURATION = "config.json"
_OF_NO_CONSEQUENCE = frozenset(
    {"transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "tokenizer_file"}
    | {"special_tokens_map_file", "is_local", "local_files_only", "_from_model_config"}
    | {"torch_dtype", "dtype", "use_cache", "_attn_implementation", "pad_token_id", "unsloth_fixed"}
    # how answers are drawn: an audit sets all of it aside
    | {"do_sample", "temperature", "top_k", "top_p", "min_p", "max_length", "max_new_tokens"}
    | {"repetition_penalty", "typical_p"}
)
"""Settings that other releases of a library write otherwise, or that no audit follows."""


def files_differ(arm: str, names: Collection[str]) -> list[Message]:
    """Return a warning of the files that an arm and the original do not share."""
    if not names:
        return []
    shown = sorted(names)[:SHOWN]
    return [message("files_differ_from_original", arm=arm, files=shown, count=len(names))]


def asked_otherwise(arm: str, own: Location, original: Location) -> list[Message]:
    """Return warnings of what a language model is asked through.

    Its tokenizer, templates and generation settings are compared with the original's, and every
    setting of its configuration. What differs in form alone is not named.
    """
    mine, theirs = (asking_files(place.manifest.files) for place in (own, original))
    differing = [
        name
        for name in mine.keys() | theirs.keys()
        if mine.get(name) != theirs.get(name)
        and _other_settings(own.model / name, original.model / name) != []
    ]
    files = [place.model / CONFIGURATION for place in (own, original)]
    settings = _other_settings(*files) or []
    found = files_differ(arm, differing)
    if settings:
        shown = settings[:SHOWN]
        found.append(
            message("settings_differ_from_original", arm=arm, settings=shown, count=len(settings))
        )
    return found


def _other_settings(*files: Path) -> list[str] | None:
    """Return the settings in which two files of settings differ.

    None means that one of them is no such file.
    """
    contents: list[dict[str, Any]] = []
    for file in files:
        if file.suffix != ".json" or not file.is_file():
            return None
        try:
            contents.append(read_json(file))
        except AuditorError:
            return None
    one, two = contents
    return sorted(_differing(one, two))


def _differing(one: dict[str, Any], two: dict[str, Any]) -> Iterable[str]:
    names = (one.keys() | two.keys()) - _OF_NO_CONSEQUENCE
    return (str(name) for name in names if one.get(name) != two.get(name))
