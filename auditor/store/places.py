"""Places of evidence stores: folders, and URLs of object storage."""

from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.extras import missing_extra
from auditor.store.base import EvidenceStore
from auditor.store.folder_store import FolderStore

Place = str | Path
"""Folder, or a URL (``s3://bucket/folder``)."""


def is_url(place: Place) -> bool:
    """Whether a place is a URL rather than a folder."""
    return isinstance(place, str) and "://" in place


def open_place(place: Place, *, read_only: bool = False) -> EvidenceStore:
    """Open the evidence store at a place.

    Args:
        place: Folder or URL.
        read_only: Nothing is made or written; the store must be there.

    Raises:
        AuditorError: It cannot be written or reached, or is not there.
    """
    if not is_url(place):
        return FolderStore(Path(place), read_only=read_only)
    try:
        from auditor.store.object_store import ObjectStore  # fsspec is no part of the light core
    except ImportError as error:
        raise missing_extra(error) or AuditorError(str(error)) from error
    return ObjectStore(str(place), read_only=read_only)
