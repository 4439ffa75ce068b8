"""Files that hold no facts yet, and the way to facts."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_TEXT = "is text, and a fact has a prompt and an answer: `auditor facts from-text {path}` cuts it"
_SHEET = "is a spreadsheet; save the sheet as CSV in UTF-8"
_DOCUMENT = (
    "is a document; save it as plain text in UTF-8, and `auditor facts from-text` cuts it into "
    "passages"
)
_PACKED = "is packed; unpack it first"
_WAYS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys((".txt", ".text", ".md", ".rst", ".log"), f"{_TEXT} into passages"),
        **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), _SHEET),
        **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".epub", ".html", ".htm"), _DOCUMENT),
        **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z"), _PACKED),
        **dict.fromkeys(
            (".yaml", ".yml"),
            "holds no facts; if it is a task of lm-evaluation-harness, `auditor facts "
            "from-lm-eval {path}` renders it",
        ),
        **dict.fromkeys(
            (".arrow", ".feather", ".db", ".sqlite", ".pkl", ".pickle"),
            "is not read; write its rows as JSON Lines or Parquet",
        ),
    }
)
"""What is to be done with a file, by its ending."""
_ADDRESSES = ("http:/", "https:/", "hf:/", "s3:/", "gs:/")
_SHOWN = 3


def way_out(path: Path, readable: tuple[str, ...]) -> str | None:
    """Return what to do with a source that is not read.

    Args:
        path: The source.
        readable: Endings of the files that are read.

    Returns:
        None for a file that is read, or would be if it were there.
    """
    if any(scheme in path.as_posix() for scheme in _ADDRESSES):
        return (
            f"{path} is an address; download the file, or name a data set on the hub "
            "(`dataset: owner/name`)."
        )
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.suffix.lower() in readable)
        if files:
            listed = ", ".join(files[:_SHOWN]) + (", …" if len(files) > _SHOWN else "")
            return f"{path} is a folder, no regular file; give one file of facts in it ({listed})."
        return (
            f"{path} is a folder, no regular file, and has no file of facts "
            f"({', '.join(readable)}); `auditor facts from-text` cuts a folder of texts into "
            "passages."
        )
    if path.suffix.lower() in readable:
        return None
    if (said := _WAYS.get(path.suffix.lower())) is not None:
        return f"{path} {said.format(path=path)}."
    return f"{path}: unknown format {path.suffix!r}; known are {', '.join(readable)}."
