"""Files and folders that are written whole or not at all.

That holds whatever kills the process that writes them.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE),
    *(errno.EIO, errno.ENOMEM),
)
"""Numbers of errors of the system that say nothing about what was asked of it."""
PARTIAL = ".*.partial"
"""Pattern of the names that unfinished files and folders have."""


def partial_name() -> str:
    """Return a new name for what is not finished yet."""
    return f".{uuid.uuid4().hex}.partial"


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or leave it as it was.

    A link stays, and what it leads to is written. What is no file (a pipe, a device) is written to.

    Raises:
        OSError: the disk is full or gone, or the folder cannot be written.
    """
    file = file.resolve()
    if file.exists() and not file.is_file():
        file.write_bytes(content)
        return
    partial = file.with_name(partial_name())
    try:
        partial.write_bytes(content)
        sync(partial)
        partial.replace(file)
        sync(file.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(final: Path, within: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder to fill, which then becomes ``final``.

    It becomes ``final`` only if no error was raised while it was filled.

    If another process has made ``final`` meanwhile, that one stays.

    Args:
        final: the folder that is to be; folders above it are made.
        within: where the unfinished folder lies, on the same file system; by default beside
            ``final``.

    Raises:
        OSError: the disk is full or gone, or the folder cannot be written.
    """
    within = within or final.parent
    within.mkdir(parents=True, exist_ok=True)
    partial = within / partial_name()
    # of its later name already, which some writers put down in what they write
    unfinished = partial / final.name
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        for path in (*unfinished.rglob("*"), unfinished):
            sync(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.rename(final)
        except OSError:
            if not final.is_dir():
                raise
        sync(final.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def system_errors() -> Iterator[None]:
    """Raise errors of the system where a library wraps them.

    Raises:
        OSError: the system refused something; its number says what.
    """
    try:
        yield
    except Exception as error:
        number = system_error_number(error)
        if number is None or isinstance(error, OSError):
            raise
        raise OSError(number, os.strerror(number)) from error


def system_error_number(error: BaseException) -> int | None:
    """Return the number of an error of the system, or None.

    The error is one, or quotes what the system said.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    said = str(error)
    return next((number for number in OF_THE_MACHINE if os.strerror(number) in said), None)


def sync(path: Path) -> None:
    """Flush a file's content or a folder's list of names to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
