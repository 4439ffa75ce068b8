"""Files and evidence stores of a folder.

Nothing outside of the folder is read.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auditor.certificate.files import evidence_beside
from auditor.core.text_safety import path_text

DEPTH = 6
"""Levels of folders below the viewed one that are searched."""
ID_DIGITS = 16
"""Number of hex digits of an id."""

_STORE = ("audits", "failures", "inputs", "jobs")
"""Folders of an evidence store, in which no certificates are looked for."""


@dataclass(frozen=True)
class Stamp:
    """Time and size of a file, which change when it changes."""

    modified: int
    """Time of the last change, in nanoseconds since the epoch."""
    size: int


class Folder:
    """A folder that is viewed."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def walk(self) -> tuple[list[Path], list[Path]]:
        """The JSON files and the evidence stores, sorted.

        No link to a folder is followed, so that the walk ends and stays inside.
        """
        files: list[Path] = []
        stores: list[Path] = []
        for name, folders, names in os.walk(self.root):
            here = Path(name)
            files += (here / n for n in names if n.endswith(".json") and not n.startswith("."))
            if "jobs" in folders and {"inputs", "audits"} & set(folders):
                stores.append(here)
                folders[:] = [f for f in folders if f not in _STORE]
            deep = len(here.relative_to(self.root).parts) >= DEPTH
            folders[:] = [] if deep else [f for f in folders if not f.startswith(".")]
        return sorted(files), sorted(stores)

    def stamp(self, file: Path) -> Stamp | None:
        """Return the stamp of a regular file.

        None means that there is no regular file, that it is gone, or that it lies outside of the
        folder.
        """
        try:
            if not file.resolve(strict=True).is_relative_to(self.root):
                return None
            status = file.stat()
        except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
            return None
        return Stamp(status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else None

    def files(self, folder: Path, suffix: str) -> Iterator[tuple[Path, Stamp]]:
        """The regular files of one folder with that suffix, sorted."""
        try:
            files = sorted(folder.iterdir())
        except OSError:
            return
        for file in files:
            if file.name.endswith(suffix) and not file.name.startswith("."):
                stamp = self.stamp(file)
                if stamp is not None:
                    yield file, stamp

    def folders(self, folder: Path) -> Iterator[Path]:
        """The folders in one folder, sorted; links to folders are left out."""
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            return
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir() and not entry.is_symlink():
                yield entry

    def name(self, path: Path) -> str:
        """The path below the viewed folder, as text that can be encoded."""
        return path_text(path.relative_to(self.root))

    def identifier(self, path: Path) -> str:
        """Return the digest that stands for a path in an address.

        No path can be made from it.
        """
        name = os.fsencode(path.relative_to(self.root))
        return hashlib.sha256(name).hexdigest()[:ID_DIGITS]


def evidence_folder(folder: Folder, certificate: Path) -> Path | None:
    """Return a certificate's evidence folder, if it is in the viewed one."""
    found = evidence_beside(certificate)
    if found is None or not (found / "jobs").is_dir():
        return None
    return found if found.resolve().is_relative_to(folder.root) else None
