"""Collection of all certificates under a folder.

Files that look like a certificate and are none are collected as well.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.certificate.parts import Part
from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.core.reading import parse_json, read_regular
from auditor.core.text_safety import path_text
from auditor.signing.reading import read

_OF_A_STORE = ("audits", "derived-models", "failures", "inputs", "jobs", "positive-controls")
"""Folders of an evidence store, in which no certificates are looked for."""


@dataclass(frozen=True)
class Collected:
    """A certificate, and the files that hold it."""

    certificate: Certificate
    paths: tuple[str, ...]
    """Paths of the files that hold it, relative to the folder; the envelope first."""
    claimed_keys: tuple[str, ...] | None
    """Ids of the keys that are said to have signed it; None where no file is an envelope."""


class Rejected(Part):
    """A file that should be a certificate and is not."""

    path: str
    reason: str


def collect(folder: Path) -> tuple[list[Collected], list[Rejected], list[str]]:
    """Read every certificate under a folder.

    Evidence stores are not searched: what they hold are jobs. A certificate that is there twice,
    say plain and in its envelope, is one.

    Returns:
        Certificates in the order of their paths; files that should be certificates and are not,
        with the reason; other JSON files.

    Raises:
        AuditorError: there is no such folder.
    """
    if not folder.is_dir():
        raise AuditorError(f"{path_text(folder)} is no folder; give one that holds certificates.")
    found: dict[str, list[tuple[bool, str, Certificate, tuple[str, ...] | None]]] = {}
    rejected, others = [], []
    files, closed = _json_files(folder)
    rejected += closed
    for file in files:
        name = path_text(file.relative_to(folder))
        try:
            if not _claims_to_be_one(file):
                others.append(name)
                continue
            certificate, keys = read(file)
        except AuditorError as error:
            rejected.append(Rejected(path=name, reason=str(error)))
            continue
        found.setdefault(certificate.certificate_id, []).append(
            (keys is None, name, certificate, keys)
        )
    collected = []
    for copies in found.values():
        copies.sort(key=lambda copy: copy[:2])
        _, _, certificate, keys = copies[0]
        collected.append(Collected(certificate, tuple(copy[1] for copy in copies), keys))
    return collected, rejected, others


def _json_files(folder: Path) -> tuple[list[Path], list[Rejected]]:
    """Return the JSON files under a folder, sorted by path.

    The second list has the folders that cannot be read.
    """
    files: list[Path] = []
    closed: list[Rejected] = []

    def unread(error: OSError) -> None:
        name = path_text(Path(error.filename).relative_to(folder))
        closed.append(Rejected(path=name, reason=f"the folder cannot be read: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=unread):
        if {"jobs", "inputs"} <= set(folders):  # an evidence store
            folders[:] = [name for name in folders if name not in _OF_A_STORE]
        folders.sort()
        files.extend(Path(parent, name) for name in sorted(names) if name.endswith(".json"))
    return files, closed


def _claims_to_be_one(file: Path) -> bool:
    """Return whether a JSON file claims to be a certificate.

    An envelope of something counts as such a claim.

    Raises:
        AuditorError: it cannot be read, or is no JSON.
    """
    try:
        content: Any = parse_json(read_regular(file))
    except OSError as error:
        raise AuditorError(f"it cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise AuditorError(f"it is not valid JSON ({error}).") from error
    return isinstance(content, dict) and bool(
        {"certificate_id", "payloadType"} & content.keys()
        or {"schema_version", "verdict"} <= content.keys()
    )
