"""Files of a tokenizer that does not lie beside its model."""

from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest_file
from auditor.models.hub import download
from auditor.models.language.spec import LanguageSpec
from auditor.models.manifest import TEMPLATES, TOKENIZER, Location, Manifest

_FILES = (
    *("*.json", "*.txt", "*.model", "*.jinja", f"{TEMPLATES}/*.jinja"),
    *("*.spm", "*.tiktoken", "*.codes", "*.bpe", "*.tokenizer"),
)
"""Patterns of the files that a tokenizer may consist of."""
_NOT_READ = ("generation_config.json", ".index.json")
"""Endings of files of the model that lies beside such a tokenizer."""


def with_tokenizer(location: Location, spec: LanguageSpec) -> Location:
    """Add the files of a spec's tokenizer to its model's.

    They are hashed with it, because they decide what it is asked.

    Args:
        location: The model's files.
        spec: Its spec.

    Raises:
        AuditorError: There is no such tokenizer.
    """
    if spec.tokenizer is None:
        return location
    folder = _folder(spec.tokenizer, spec.tokenizer_revision)
    found = sorted(
        {
            path
            for pattern in _FILES
            for path in folder.glob(pattern)
            if path.is_file() and not path.name.endswith(_NOT_READ)
        }
    )
    digests = {f"{TOKENIZER}{p.relative_to(folder).as_posix()}": digest_file(p) for p in found}
    if not digests:
        raise AuditorError(
            f"the tokenizer {spec.tokenizer} is a directory without any of its files."
        )
    manifest = Manifest(files=location.manifest.files | digests)
    return location.model_copy(update={"manifest": manifest, "tokenizer": folder})


def _folder(name: str, revision: str | None) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise AuditorError(f"the tokenizer {name} is a file; give the directory that holds it.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AuditorError(f"the tokenizer {name}: no such directory.")
    return download(name, revision, _FILES, "tokenizer")
