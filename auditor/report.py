"""Registry of reports, each a form of a certificate.

Someone reads it, or a machine.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.core.registry import Registry


@dataclass(frozen=True)
class Signatures:
    """Knowledge of a certificate's signatures when a report is made."""

    keys: tuple[str, ...]
    """Ids of the keys that signed."""
    checked: bool
    """Whether they were checked against keys that whoever made the report trusts."""


@dataclass(frozen=True)
class Report:
    """A way to write a certificate down."""

    render: Callable[[Certificate, Signatures | None], str | bytes]
    """Returns the content of one file; equal arguments give equal text. The signatures are None
    where the certificate was not signed."""
    suffix: str
    """Suffix of the file, with its dot (``.html``, ``.junit.xml``)."""
    summary: str
    """What the report is for, in one line."""

    def written(self, certificate: Certificate, signatures: Signatures | None) -> bytes:
        """Return the content of its file."""
        content = self.render(certificate, signatures)
        return content.encode() if isinstance(content, str) else content


CERTIFICATE = "certificate"
"""Stem of the files that an audit writes."""
_OTHER_FORMS = (".json", ".dsse.json", ".sigstore.json")
"""Suffixes of certificates that are no reports."""

REPORTS: Registry[Report] = Registry("report", group="auditor.reports")
"""Reports by name."""


def remove_certificates(folder: Path) -> None:
    """Remove an audit's certificate in all its known forms.

    Signed and redacted ones are among them.

    Raises:
        OSError: The folder cannot be written.
    """
    present = [file for file in folder.glob(f"{CERTIFICATE}.*") if file.is_file()]
    if not present:
        return
    suffixes = {*_OTHER_FORMS, *_suffixes()}
    known = {f"{CERTIFICATE}{hidden}{s}" for s in suffixes for hidden in ("", ".redacted")}
    for file in present:
        if file.name in known:
            file.unlink(missing_ok=True)


def _suffixes() -> Iterator[str]:
    """Yield the suffixes of all reports that load."""
    for name in REPORTS.names():
        with suppress(AuditorError):
            yield REPORTS.get(name).suffix
