"""Paths as texts: a file's name may hold bytes that are no text."""

import os
from pathlib import Path


def shown_path(path: Path) -> str:
    """Returns a path in which bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
