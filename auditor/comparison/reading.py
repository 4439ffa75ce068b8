"""A certificate from a file, plain or in an envelope."""

from pathlib import Path

from auditor.certificate.files import read_certificate
from auditor.certificate.schema import Certificate


def read(path: Path) -> tuple[Certificate, tuple[str, ...] | None]:
    """The certificate in a file, and ids of the keys that say they signed; None: no envelope.

    Raises:
        AuditorError: it is missing, no certificate, or was edited.
    """
    return read_certificate(path), None
