"""Files beside the weights of a model that are not the original's."""

from collections.abc import Mapping
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import read_json
from auditor.models.manifest import Location, asking_files

SHOWN = 8
"""Most files or settings that a warning names."""
GENERATION = "generation_config.json"
SETTINGS = ("config.json", GENERATION)
"""Files of which settings are compared, since no two releases of a library write them alike."""
_OF_NO_CONSEQUENCE = frozenset(
    {"transformers_version", "_name_or_path", "_commit_hash", "_from_model_config", "use_cache"}
    | {"torch_dtype", "dtype", "_attn_implementation", "pad_token_id"}
    # how answers are drawn, which an audit sets aside
    | {"do_sample", "temperature", "top_k", "top_p", "min_p", "max_length", "max_new_tokens"}
    | {"repetition_penalty", "typical_p"}
)
"""Settings that no answer of an audit depends on."""


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
    found = [*files_differ(arm, mine, theirs)]
    for file in SETTINGS:
        names = _settings(own.model / file, original.model / file)
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
    return tuple(found)


def _settings(own: Path, original: Path) -> list[str]:
    """Return the settings in which two readable files differ."""
    try:
        mine, theirs = (read_json(file) for file in (own, original))
    except (AuditorError, OSError):
        return []
    names = (mine.keys() | theirs.keys()) - _OF_NO_CONSEQUENCE
    return sorted(str(name) for name in names if mine.get(name) != theirs.get(name))
