"""Where a command finds the certificate that it was given, its keys and its evidence."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.evidence.folder_store import FolderStore
from auditor.evidence.store import EvidenceStore

Command = TypeVar("Command", bound=Callable[..., Any])

evidence_option = click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    help="Evidence store of the audit.  [default: the folder evidence beside the certificate]",
)


def key_options(command: Command) -> Command:
    """Trusted keys, and how many of them must have signed."""
    for decorate in (
        click.option(
            "--threshold",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="How many of the given keys must have signed.",
        ),
        click.option(
            "--key",
            "keys",
            type=Path,
            multiple=True,
            help="Public key (PEM) that you trust; give it again for each further signer.",
        ),
    ):
        command = decorate(command)
    return command


def trusted_certificate(
    path: Path, keys: Sequence[Path], threshold: int
) -> tuple[Certificate, tuple[str, ...]]:
    """A certificate whose signatures hold, and the ids of the trusted keys that signed.

    Raises:
        AuditorError: with an exit code of its own for each way in which they do not.
    """
    from auditor.signing.envelope import open_envelope
    from auditor.signing.keys import load_public_key

    opened = open_envelope(
        path.read_bytes(), [load_public_key(key) for key in keys], threshold, str(path)
    )
    return opened.certificate, opened.keys


def open_evidence(certificate_file: Path, evidence: Path | None) -> EvidenceStore:
    """The evidence store that was given, or the one beside the certificate.

    Raises:
        AuditorError: there is none.
    """
    beside = certificate_file.parent / "evidence"
    if evidence is None and not beside.is_dir():
        raise AuditorError(
            f"there is no evidence beside {certificate_file}; name its store with --evidence."
        )
    return FolderStore(evidence or beside, read_only=True)
