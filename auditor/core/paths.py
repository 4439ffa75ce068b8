"""Types of texts that name files or models.

They are relative to the folder of whoever wrote them.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, ValidationInfo

ROOT = "root"
"""Key of the validation context that holds the folder. Without it texts are left as they are."""


_CLOSE = 0.8
"""Likeness from which one file name may be meant by another; endings are alike anyway."""

WHOLE_MODELS = (".gguf",)
"""Endings, in small letters, of files that each hold a model whole."""

PathType = Literal["file", "model"]
"""Kind of what a text names: a file or folder, or a model."""


def context(root: Path | None) -> dict[str, Any]:
    """Return the validation context under which relative paths start at a folder.

    Args:
        root: The folder; None leaves paths as they are.
    """
    return {ROOT: root}


def located_file(text: str, root: Path | None) -> str:
    """Return the whole path of a file or folder.

    Args:
        text: The path as somebody wrote it.
        root: The folder at which relative paths start; None leaves the text as it is.
    """
    return text if root is None else str(root / Path(text).expanduser())


def located_model(text: str, root: Path | None) -> str:
    """Return a model's whole path, or its name on the hub.

    Args:
        text: A path or a name. What is no directory, nor a file that is a whole model, and does not
            begin like a path, is a name.
        root: The folder at which relative paths start; None leaves the text as it is.
    """
    if root is None or not (text.startswith((".", "~")) or holds_model(root / text)):
        return text
    return located_file(text, root)


def holds_model(path: Path) -> bool:
    """Whether a folder, or a file that is a model, is there.

    None is where no name may be as long.
    """
    try:
        return path.is_dir() or (path.suffix.lower() in WHOLE_MODELS and path.is_file())
    except OSError:
        return False


def root_of(info: ValidationInfo) -> Path | None:
    """Return the folder at which a validation's relative paths start.

    None means that no folder was given.
    """
    return info.context.get(ROOT) if isinstance(info.context, Mapping) else None


def name_of_file(text: str) -> str:
    """Return the last part of a file's path."""
    return Path(text).name or text


def name_of_model(text: str) -> str:
    """Return a model's name on the hub, or that of its folder."""
    on_hub = text.count("/") <= 1 and not text.startswith((".", "~", "/"))
    return text if on_hub else name_of_file(text)


def _file(text: str, info: ValidationInfo) -> str:
    return located_file(text, root_of(info))


def _model(text: str, info: ValidationInfo) -> str:
    return located_model(text, root_of(info))


def close_names_beside(path: Path) -> str:
    """Return a clause that suggests names close to a missing path.

    Returns:
        A clause that begins with a semicolon; empty if there is nothing to suggest.
    """
    if path.is_symlink():
        return "; it is a link that leads nowhere"
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"; nor is there a folder {path.parent}"
    close = difflib.get_close_matches(path.name, names, n=2, cutoff=_CLOSE)
    return f"; there is {' and '.join(close)}" if close else ""


FilePath = Annotated[str, AfterValidator(_file)]
"""Type of a field that names a file or a folder."""
ModelPath = Annotated[str, AfterValidator(_model)]
"""Type of a field that names a model: a directory, a file that is one, or a name on the hub."""

LOCATED: Mapping[PathType, Callable[[str, Path | None], str]] = {
    "file": located_file,
    "model": located_model,
}
"""Functions that make a path of each type whole."""
NAMES: Mapping[PathType, Callable[[str], str]] = {"file": name_of_file, "model": name_of_model}
"""Functions that leave of a path of each type what says nothing of the machine."""


def path_type(annotation: Any, metadata: Sequence[Any] = ()) -> PathType | None:
    """Return what a field's texts name, or None.

    The type may be said anywhere in the annotation. None stands for texts that name no path.

    Args:
        annotation: The type of the field, without the metadata that pydantic takes from it.
        metadata: That metadata.
    """
    for entry in (*metadata, *getattr(annotation, "__metadata__", ())):
        if isinstance(entry, AfterValidator) and entry.func in (_file, _model):
            return "file" if entry.func is _file else "model"
    return next(filter(None, map(path_type, get_args(annotation))), None)
