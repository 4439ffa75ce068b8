"""The folder for what can be made again."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "UNLEARNING_AUDITOR_CACHE"
"""Environment variable that moves the cache."""


def cache_folder() -> Path:
    """Return the user's cache folder, or the one that ``UNLEARNING_AUDITOR_CACHE`` names."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen or platformdirs.user_cache_dir("unlearning-auditor"))
