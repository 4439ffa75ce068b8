"""Folders of copies of models: sealed, checked, bounded."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from auditor.core.files import PARTIAL
from auditor.core.hashing import canonical_json, digest_file
from auditor.core.reading import parse_json, read_regular
from auditor.store.sealed_jobs import SEAL, SEALS

DERIVED = "derived-models"
"""Folder of a store in which they lie."""
_SHARE = 0.5
"""Share of the disk's free bytes, those of the copies among them, that copies may take."""
_IN_USE = 6 * 3600
"""Seconds after its last use for which a copy stays: a worker may be reading it."""
_ABANDONED = 24 * 3600
"""Seconds after which an unfinished copy is taken for a leftover."""


def seal_folder(folder: Path) -> dict[str, str]:
    """Write down the digests of a folder's files, last of all.

    Args:
        folder: It holds all its files.

    Returns:
        Name of each file to its digest.
    """
    digests = {name: digest_file(folder / name) for name in _files(folder)}
    (folder / SEAL).write_bytes(canonical_json(digests))
    return digests


def is_whole(folder: Path) -> bool:
    """Return whether a folder holds what its seal names alone."""
    try:
        sealed = SEALS.validate_python(parse_json(read_regular(folder / SEAL)), strict=True)
        return sealed == {name: digest_file(folder / name) for name in _files(folder)}
    except (OSError, ValueError):
        return False


def used(folder: Path) -> None:
    """Note that a copy was used now."""
    with suppress(OSError):  # of another user's store, say; then it counts as used when it was made
        os.utime(folder)


def remove_unused(root: Path) -> None:
    """Remove the copies that were not used for longest.

    So many are removed that few enough are left.

    Args:
        root: Folder of the copies.
    """
    if not root.is_dir():
        return
    now = time.time()
    for partial in root.glob(PARTIAL):
        with suppress(FileNotFoundError):
            if now - partial.stat().st_mtime > _ABANDONED:
                shutil.rmtree(partial, ignore_errors=True)
    sizes = {folder: _size(folder) for folder in root.glob("[!.]*")}
    taken = sum(sizes.values())
    allowed = _SHARE * (taken + shutil.disk_usage(root).free)
    for folder in sorted(sizes, key=_last_use):
        if taken <= allowed:
            return
        if now - _last_use(folder) > _IN_USE:
            shutil.rmtree(folder, ignore_errors=True)
            taken -= sizes[folder]


def _files(folder: Path) -> Iterator[str]:
    """Yield the names of a folder's files but the seal."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != SEAL:
            yield name


def _size(folder: Path) -> int:
    with suppress(FileNotFoundError):  # another process removes it
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return 0


def _last_use(folder: Path) -> float:
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return 0.0
