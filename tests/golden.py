"""Certificates that release 0.1 wrote, with their evidence."""

import tarfile
from pathlib import Path

FOLDER = Path(__file__).parent / "auditor" / "certificate" / "golden"

FIRST = FOLDER / "certificate-3.0.0.json"
"""A certificate of schema 3.0.0, without its evidence."""


def unpack(name: str, folder: Path) -> Path:
    """Unpack a golden audit.

    Args:
        name: ``small-people`` or ``small-shapes``, with all of their evidence; ``demo-people`` or
            ``demo-shapes``, the demo's two audits without the arrays of attacks.
        folder: where it is unpacked.

    Returns:
        The folder, which holds certificates and ``evidence``.
    """
    with tarfile.open(FOLDER / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder
