"""Canonical bytes and sha256 digests of everything that decides a result."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import rfc8785

from auditor.core.errors import UnrepresentableError
from auditor.core.reading import open_regular

_CHUNK = 1 << 22
_LARGEST_INTEGER = 10**21
"""Integer from which on the scheme writes doubles with an exponent."""


def canonical_json(value: Any) -> bytes:
    """Serialise a value by the JSON Canonicalization Scheme (RFC 8785).

    Equal values give equal bytes in every language that has the scheme: keys are sorted by their
    UTF-16 code units, and numbers are written as ECMAScript writes an IEEE 754 double.

    Raises:
        UnrepresentableError: the value holds NaN or an infinity, an integer that is no double,
            a key that is no string, half a surrogate pair, or what JSON has no form for.
    """
    try:
        try:
            return rfc8785.dumps(value)
        except rfc8785.IntegerDomainError:
            return rfc8785.dumps(_with_doubles(value))
    except rfc8785.IntegerDomainError as error:
        raise UnrepresentableError(
            f"{error}: give a whole number between -(2**53 - 1) and 2**53 - 1."
        ) from error
    except rfc8785.CanonicalizationError as error:
        raise UnrepresentableError(f"a value has no canonical JSON: {error}.") from error


def _with_doubles(value: Any) -> Any:
    """Return the value with integers that stand for doubles as floats.

    They are the integers as which the scheme writes a large double.

    Python reads ``1e20``, which the scheme writes ``100000000000000000000``, as an integer.
    """
    if isinstance(value, Mapping):
        return {key: _with_doubles(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_doubles(inner) for inner in value]
    if isinstance(value, int) and abs(value) < _LARGEST_INTEGER:
        double = float(value)
        return double if rfc8785.dumps(double) == str(value).encode() else value
    return value


def digest(value: Any) -> str:
    """Sha256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def former_canonical_json(value: Any) -> bytes:
    """Serialise a value as certificates and evidence before schema 4 have it.

    It differs from :func:`canonical_json` in how floats are written (``5.0``, ``5e-05``) and in
    the order of keys beyond the Basic Multilingual Plane.

    Raises:
        ValueError: the value holds NaN or an infinity, or half a surrogate pair.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def former_digest(value: Any) -> str:
    """Return the sha256 (hex) of the former canonical JSON.

    Shipped weights and 3.x files name it.
    """
    return hashlib.sha256(former_canonical_json(value)).hexdigest()


def has_digest(value: Any, expected: str) -> bool:
    """Return whether a value has the expected digest.

    The canonical form may be that of today or the former one.

    Bytes that both forms could have made stand for the same JSON value, so accepting either
    accepts nothing else.

    Raises:
        ValueError: neither form can say the value, or it has not the former digest and today's
            form cannot say it.
    """
    # the former one first: it takes larger integers
    return former_digest(value) == expected or digest(value) == expected


def digest_file(path: Path) -> str:
    """Sha256 (hex) of a file's bytes, read in pieces.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return digest_open(file)


def digest_open(file: IO[bytes]) -> str:
    """Sha256 (hex) of what is left to read of a file."""
    sha = hashlib.sha256()
    while piece := file.read(_CHUNK):
        sha.update(piece)
    return sha.hexdigest()
