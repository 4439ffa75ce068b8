"""Files that others wrote: opened, bounded and parsed by one rule.

A certificate, a plan, evidence or a model's configuration may have been written to break whoever
reads it. So only regular files are opened, of a size that is bounded, and what is parsed says
everything once, in finite numbers, and does not nest without end. What breaks the rule is an
`OSError` (the file) or a `ValueError` (what is in it), and nothing else.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import IO, Any

DOCUMENT = 64 * 2**20
"""Most bytes of a document: a certificate, a configuration, a job's notes."""
SETTINGS = 2**18
"""Most bytes of a plan or a policy."""
DATA = 2**30
"""Most bytes of a data file."""
NESTING = 100
"""Most levels of lists and mappings within each other."""
TOO_DEEP = f"it nests more than {NESTING} levels deep"
"""What is said of a document that does."""
_DIGITS = 308
"""Most digits of a whole number: a longer one is no double."""
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags that no system lacks, with those of one: no waiting for a pipe, no change of line ends."""
_BRACKETS = 2_000_000
"""Most lists and objects of a JSON document; each takes a hundred times the memory of its text."""


class UnfitFileError(OSError):
    """A file may not be read: no regular one, or too large."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def open_regular(path: Path, limit: int | None = None) -> IO[bytes]:
    """Open a regular file to be read.

    A pipe or a device is refused before anything is read from it, and never waited for.

    Args:
        path: The file; links are followed.
        limit: Most bytes that it may have; None for any size.

    Raises:
        UnfitFileError: It is no regular file, or larger.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        _check_fit(path, os.fstat(descriptor), limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_fit(path: Path, found: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnfitFileError(path, "it is no regular file")
    if limit is not None and found.st_size > limit:
        raise UnfitFileError(
            path, f"it has {found.st_size:,} bytes, and no more than {limit:,} are read"
        )


def read_regular(path: Path, limit: int | None = DOCUMENT) -> bytes:
    """Read a regular file.

    Raises:
        UnfitFileError: It is no regular file, or larger than the limit.
        OSError: It cannot be read.
    """
    with open_regular(path, limit) as file:
        return file.read()


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Parse JSON in UTF-8, by the rule of this module.

    Args:
        content: The text.
        finite: Refuse ``NaN`` and ``Infinity``, which are no JSON; Python writes them, and
            configurations of published models hold them (Mamba-2's ``time_step_limit``).

    Raises:
        ValueError: It is no JSON, says a key twice, holds a number that no double is, or nests
            too deep.
    """
    text = content if isinstance(content, str) else content.decode("utf-8-sig")
    brackets = text.count("[") + text.count("{")
    if brackets > _BRACKETS:
        raise ValueError(f"it holds {brackets:,} lists and objects, more than {_BRACKETS:,}")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_said_once,
            parse_int=whole_number,
            parse_float=_finite_number,
            parse_constant=no_number if finite else float,
        )
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if brackets > NESTING:
        check_nesting(value)
    return value


def _said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        check_repeated(name for name, _ in pairs)
    return content


def check_repeated(names: Iterable[Hashable]) -> None:
    """Refuse a name that is said twice."""
    seen: set[Hashable] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"it says {ascii(name)[:80]} twice")
        seen.add(name)


def whole_number(digits: str) -> int:
    """Read a whole number that a double can hold."""
    if len(digits) > _DIGITS:
        raise ValueError(f"it holds a number of {len(digits):,} digits")
    return int(digits)


def _finite_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"it holds the number {digits[:40]}, which is too large")
    return number


def no_number(name: str) -> float:
    """Refuse what is no number."""
    raise ValueError(f"it holds {name}, which is no number")


def check_nesting(value: Any) -> None:
    """Look at every value, a level at a time."""
    level = [value]
    for _ in range(NESTING):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(TOO_DEEP)
