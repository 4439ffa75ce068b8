"""Digests of large files, kept so that weights are read once.

A kept digest counts only while nothing can have changed the file since it was taken. The time of a
file's content (mtime) proves little, for anybody may set it. So a file must also have the time of
its last change of any kind (ctime), which the system alone sets, its place, its size, its device
and its inode. Times are coarse, and what is mapped into memory reaches them late: a digest is kept
only of a file that had been left alone for a minute when it was read, and was so afterwards. File
systems that make up what they say are never believed. Whoever checks a certificate hashes anew.
"""

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from auditor.core.cache import cache_folder
from auditor.core.files import write_whole
from auditor.core.hashing import digest_file, digest_open
from auditor.core.reading import open_regular, read_regular

LEAST = 16 * 2**20
"""Least bytes of a file whose digest is kept; smaller ones are read as quickly."""
SETTLED = 60.0
"""Seconds for which a file must have been left alone. Within half of them the system writes out
what is mapped into memory, and so notes its time."""
_LARGEST = 10_000
"""Most bytes of what is kept of a file."""
_TRUSTED = frozenset(
    (
        *("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "xfs", "zfs"),
        *("beegfs", "ceph", "gpfs", "lustre", "nfs", "nfs4"),
    )
)
"""File systems that set the time of every change. (One in memory does not, of what is mapped.)"""
_OCTAL = re.compile(r"\\([0-7]{3})")
"""Signs of a path as the system lists it, where they are no letters."""
_anew: ContextVar[bool] = ContextVar("anew", default=False)


class _Kept(BaseModel):
    """File as it was when it was hashed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    digest: str

    def is_of(self, path: Path, found: os.stat_result) -> bool:
        """Whether a file is still the one that was hashed."""
        now = _described(path, found, self.digest)
        return self == now


@contextmanager
def hashed_anew() -> Iterator[None]:
    """Read every file that is hashed meanwhile, whatever is kept."""
    before = _anew.set(True)
    try:
        yield
    finally:
        _anew.reset(before)


def kept_digest(path: Path, *, least: int = LEAST, settled: float = SETTLED) -> str:
    """Sha256 (hex) of a file, read only if it may have changed.

    Args:
        path: The file; links are followed.
        least: Bytes below which it is always read.
        settled: Seconds for which it must have been left alone for its digest to be kept.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    if _anew.get():
        return digest_file(path)
    real = path.resolve()
    with open_regular(real) as file:
        before = os.fstat(file.fileno())
        if before.st_size < least or not _is_trusted(real):
            return digest_open(file)
        entry = _entry(real)
        kept = _read(entry)
        if kept is not None and kept.is_of(real, before):
            return kept.digest
        began = time.time_ns()
        found = digest_open(file)
        after = os.fstat(file.fileno())
    described = _described(real, before, found)
    changed = max(before.st_mtime_ns, before.st_ctime_ns)
    if described == _described(real, after, found) and began - changed > settled * 1e9:
        _write(entry, described)
    return found


def _described(path: Path, found: os.stat_result, digest: str) -> _Kept:
    return _Kept(
        path=os.fsencode(path).hex(),
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        digest=digest,
    )


def _entry(path: Path) -> Path:
    return cache_folder() / "digests" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"


def _read(entry: Path) -> _Kept | None:
    """Return what is kept, unless somebody else could have written it."""
    try:
        for place in (entry, entry.parent):
            found = place.lstat()
            others = stat.S_IWGRP | stat.S_IWOTH
            if found.st_uid != os.geteuid() or found.st_mode & others or place.is_symlink():
                return None
        return _Kept.model_validate_json(read_regular(entry, _LARGEST))
    except (OSError, ValidationError):
        return None


def _write(entry: Path, kept: _Kept) -> None:
    with suppress(OSError):  # a cache that cannot be written costs time and nothing else
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(entry, kept.model_dump_json().encode())
        entry.chmod(0o600)


def _is_trusted(path: Path) -> bool:
    """Whether a file system sets the time of a change itself."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    found, kind = -1, ""
    for line in mounts:
        placed, _, rest = line.partition(" - ")
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), placed.split()[4])
        if path.is_relative_to(point) and len(point) >= found:
            found, kind = len(point), rest.split()[0]
    return kind in _TRUSTED
