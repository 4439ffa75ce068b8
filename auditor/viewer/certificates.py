"""The certificates of a folder, each in a line."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError, MalformedError
from auditor.core.reading import DOCUMENT, parse_json, read_regular
from auditor.core.text_safety import encodable
from auditor.report import Signatures
from auditor.signing.reading import read
from auditor.viewer.folder import Folder, Stamp, evidence_folder

_MARKS = (b'"schema_version"', b'"payloadType"')
"""Bytes of which one is in every certificate, and in every envelope around one."""
_NAMES = ("certificate.json", "certificate.dsse.json")
"""Names of the files that an audit writes. A file so named should be a certificate, whatever is in
it."""
_SENTENCE = 600
"""Most characters of an error that are kept, since it may quote the file."""


class Summary(BaseModel):
    """A certificate in a line."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Name of the certificate in addresses."""
    file: str
    certificate_id: str
    verdict: str
    flags: tuple[str, ...]
    model: str | None
    """Path of the unlearned model."""
    facts: int | None
    """Number of facts to be forgotten."""
    policy: str
    residual_lower: float | None
    residual_upper: float | None
    issued: str
    holds_until: datetime | None
    """When the certificate expires, or the first of its waivers."""
    keys: tuple[str, ...]
    """Ids of the keys that are said to have signed it; no signature was checked."""
    evidence: bool
    """Whether its evidence is in the folder."""
    redacted: bool
    """Whether digests stand in the place of its texts."""


class Unreadable(BaseModel):
    """A file that cannot be read as what it should be.

    It should be a certificate, or an entry of a ledger.
    """

    model_config = ConfigDict(frozen=True)

    file: str
    why: str


class Certificates:
    """Reads each file once, and again when it was changed."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[Stamp, Summary | Unreadable | None]] = {}

    def among(self, files: Sequence[Path]) -> list[Summary | Unreadable]:
        """Return the certificates among some files.

        A file that should be a certificate and cannot be read is returned as such.
        """
        known: dict[Path, tuple[Stamp, Summary | Unreadable | None]] = {}
        for file in files:
            stamp = self._folder.stamp(file)
            if stamp is None:
                continue
            held = self._known.get(file)
            current = held is not None and held[0] == stamp
            known[file] = held if held and current else (stamp, self._summary(file, stamp))
        self._known = known  # of files that are gone, nothing is kept
        return [found for _, found in known.values() if found is not None]

    def read(self) -> Iterator[tuple[Path, Summary]]:
        """Yield the certificates that were last read, with their files."""
        for file, (_, found) in self._known.items():
            if isinstance(found, Summary):
                yield file, found

    def _summary(self, file: Path, stamp: Stamp) -> Summary | Unreadable | None:
        if stamp.size > DOCUMENT:
            named = file.name in _NAMES
            why = f"it has {stamp.size:,} bytes; no more than {DOCUMENT:,} are read."
            return self._unreadable(file, why) if named else None
        try:
            content = read_regular(file)
            if file.name not in _NAMES and not _is_meant(content):
                return None
            certificate, signatures = read_signed(file)
            return self._line(file, certificate, signatures)
        except (AuditorError, OSError, ValueError) as error:
            return self._unreadable(file, str(error))

    def _line(self, file: Path, certificate: Certificate, signatures: Signatures | None) -> Summary:
        forget = certificate.scope.sets.get("forget")
        return Summary(
            id=self._folder.identifier(file),
            file=self._folder.name(file),
            certificate_id=certificate.certificate_id,
            verdict=certificate.verdict.verdict,
            flags=certificate.verdict.flags,
            model=certificate.name,
            facts=None if forget is None else forget.facts,
            policy=certificate.policy.name,
            residual_lower=certificate.uncertainty.residual_lower,
            residual_upper=certificate.uncertainty.residual_upper,
            issued=certificate.timing.issued,
            holds_until=holds_until(certificate),
            keys=() if signatures is None else signatures.keys,
            evidence=evidence_folder(self._folder, file) is not None,
            redacted=certificate.redaction != "none",
        )

    def _unreadable(self, file: Path, why: str) -> Unreadable:
        return Unreadable(file=self._folder.name(file), why=encodable(why[:_SENTENCE]))


def read_signed(file: Path) -> tuple[Certificate, Signatures | None]:
    """Read a certificate and its claimed signers.

    The signers are the keys that are said to have signed it; no signature is checked.

    Raises:
        AuditorError: it is none.
    """
    certificate, claimed = read(file)
    return certificate, None if claimed is None else Signatures(claimed, checked=False)


def holds_until(certificate: Certificate) -> datetime | None:
    """Return when a certificate or its first waiver expires.

    None means that nothing in it expires.

    Raises:
        MalformedError: a day or a moment is none.
    """
    try:
        return _first_end(certificate)
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"it does not say until when it holds: {error}.") from error


def _first_end(certificate: Certificate) -> datetime | None:
    ends = [
        datetime.combine(date.fromisoformat(w.until) + timedelta(days=1), datetime.min.time(), UTC)
        for w in certificate.policy.waivers
    ]
    if certificate.timing.expires is not None:
        expires = datetime.fromisoformat(certificate.timing.expires)
        ends.append(expires if expires.tzinfo else expires.replace(tzinfo=UTC))
    return min(ends, default=None)


def _is_meant(content: bytes) -> bool:
    """Return whether a file is meant as a certificate.

    A file that bears a mark of certificates and is cut off is meant as one.
    """
    if not any(mark in content for mark in _MARKS):
        return False
    try:
        data = parse_json(content)
    except ValueError:
        return True
    return isinstance(data, dict) and bool({"schema_version", "payloadType"} & data.keys())
