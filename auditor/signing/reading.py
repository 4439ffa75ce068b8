"""Certificates from files, signed or not."""

from pathlib import Path

from auditor.certificate.files import parse_certificate
from auditor.certificate.schema import Certificate
from auditor.core.errors import MalformedError
from auditor.core.reading import parse_json, read_regular
from auditor.signing.envelope import unchecked
from auditor.signing.keyless import is_bundle, unchecked_bundle


def read(path: Path) -> tuple[Certificate, tuple[str, ...] | None]:
    """Read a certificate from a file, an envelope or a Sigstore bundle.

    No signature is checked.

    Returns:
        The certificate, and the ids of the keys that are said to have signed it, or who is said to
        have signed a bundle; None where it is neither.

    Raises:
        MalformedError: the file cannot be read, or is no certificate.
        AlteredError: the certificate was edited.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise MalformedError(f"the certificate {path} cannot be read: {error.strerror}.") from error
    return parse(content, str(path))


def parse(content: bytes, name: str) -> tuple[Certificate, tuple[str, ...] | None]:
    """The same for the bytes of a file.

    Args:
        content: a certificate, an envelope or a bundle.
        name: what errors call it.

    Raises:
        MalformedError: it is no certificate.
        AlteredError: the certificate was edited.
    """
    try:
        data = parse_json(content)
    except ValueError as error:
        raise MalformedError(f"{name} is not valid JSON ({error}).") from error
    if isinstance(data, dict) and "payloadType" in data:
        return unchecked(content, name)
    if is_bundle(data):
        return unchecked_bundle(data, name)
    return parse_certificate(data, name), None
