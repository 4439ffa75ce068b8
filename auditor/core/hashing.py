"""Canonical bytes and sha256 digests: the names of everything that decides a result."""

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK = 1 << 22


def canonical_json(value: Any) -> bytes:
    """Serialise ``value`` so that equal values give equal bytes: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON cannot say.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """Sha256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_file(path: Path) -> str:
    """Sha256 (hex) of a file's bytes, read in pieces."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            sha.update(piece)
    return sha.hexdigest()
