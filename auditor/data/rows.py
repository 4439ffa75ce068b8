"""Rows of files and of hub data sets, before they become facts.

A file is told by what it holds where its ending and its content disagree in a known way: JSON Lines
are published in files that end in .json, and lists in files that end in .jsonl.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from auditor.core.errors import AuditorError
from auditor.core.limits import exceeded
from auditor.core.network import hub_in_reach, no_network
from auditor.core.paths import close_names_beside
from auditor.core.reading import DATA, UnfitFileError, open_regular, parse_json
from auditor.core.text_safety import quoted
from auditor.data.source import DataSource
from auditor.data.unread_formats import way_out


class Fault(str):
    """What is wrong with a row, in words.

    Rows whose faults are of one kind are named together, and the first is quoted.
    """

    __slots__ = ("kind",)
    kind: Hashable

    def __new__(cls, kind: Hashable, said: str) -> "Fault":
        """Say a fault of a kind."""
        fault = super().__new__(cls, said)
        fault.kind = kind
        return fault


Row = tuple[int, dict[str, Any] | Fault]
"""Line (or row) number counted from 1, and the row, or what is wrong with it."""

MOST_COLUMNS = 1_000
"""Most columns of a row."""
_LINE = 32 * 2**20
"""Most bytes of a line of JSON."""
_HEAD = 512
"""Bytes by which a file is told to be of another format."""
_BOM = b"\xef\xbb\xbf"
_SHOWN = 60
"""Most characters of a value or header that a message shows."""

_OTHER_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe", "is text in UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "is text in UTF-16; save it as UTF-8"),
    (b"PAR1", "is Parquet; give it a name that ends in .parquet"),
    (b"\x1f\x8b", "is compressed (gzip); unpack it"),
    (b"PK\x03\x04", "is a ZIP archive, as .xlsx and .zip files are; unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook; save it as CSV (UTF-8)"),
    (b"ARROW1", "is an Arrow file; save it as Parquet"),
)
"""Beginnings of files that are of another format, and the way out."""
_NOT_PARQUET: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file; fetch it: `git lfs pull`"),
    (b"<!doctype html", "is a web page; download the file itself"),
    (b"<html", "is a web page; download the file itself"),
)
_OF_JSON = (b"{", b"[", b'"', b"")
"""First characters of a line of JSON that holds more than a number."""
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_rows(source: DataSource) -> Iterator[Row]:
    """Yield the rows of a source, and faults of bad ones.

    Names of columns come without blanks around them.

    Raises:
        AuditorError: It cannot be read, or not as what it is said to be.
    """
    for number, row in _hub_rows(source) if source.path is None else _file_rows(source.path):
        if isinstance(row, dict) and any(name != name.strip() for name in row if name):
            trimmed = [str(name).strip() for name in row]
            if len(set(trimmed)) < len(trimmed):
                twice = Counter(trimmed).most_common(1)[0][0]
                yield number, Fault(("twice", twice), f"has the column {twice!r} twice")
                continue
            yield number, dict(zip(trimmed, row.values(), strict=True))
        else:
            yield number, row


def _file_rows(name: str) -> Iterator[Row]:
    path = Path(name).expanduser()
    if (said := way_out(path, tuple(READERS))) is not None:
        raise AuditorError(said)
    if not path.exists():
        raise AuditorError(f"{path}: no such file{close_names_beside(path)}.")
    try:
        yield from READERS[path.suffix.lower()](path)
    except UnfitFileError as error:
        raise AuditorError(f"{path} cannot be read: {error.strerror}.") from error


def _check_format(
    path: Path, file: IO[bytes], others: Iterable[tuple[bytes, str]] = _OTHER_FORMATS
) -> bytes:
    """Refuse a file of another format by its first bytes.

    Returns:
        Its first bytes.

    Raises:
        AuditorError: Says what the file is, and the way out.
    """
    head = file.read(_HEAD)
    file.seek(0)
    start = head.removeprefix(_BOM).lstrip().lower()
    for beginning, what in others:
        if head.startswith(beginning):
            raise AuditorError(f"{path} {what}.")
    for beginning, what in _NOT_PARQUET:
        if start.startswith(beginning):
            raise AuditorError(f"{path} {what}.")
    return head


def _not_utf8(error: UnicodeDecodeError) -> Fault:
    byte = error.object[error.start]
    return Fault(
        "not UTF-8",
        f"not UTF-8 (the byte 0x{byte:02x}, as in Latin-1 or Windows-1252); save the file as UTF-8",
    )


def _json(path: Path) -> Iterator[Row]:
    """Rows of a list of objects, or of an object a line."""
    with open_regular(path, DATA) as file:
        head = _check_format(path, file)
        if head.removeprefix(_BOM).lstrip()[:1] == b"[":
            yield from _listed(path, file)
        else:
            yield from _in_lines(path, file)


def _listed(path: Path, file: IO[bytes]) -> Iterator[Row]:
    """Rows of a list of objects.

    Lists on lines of their own are faults of these lines.
    """
    content = file.read()
    try:
        rows = parse_json(content, finite=False)
    except UnicodeDecodeError as error:
        raise AuditorError(f"{path}: {_not_utf8(error)}.") from error
    except ValueError as error:
        file.seek(0)
        first = next(line for line in file if line.strip(_BOM + b" \t\r\n"))
        if path.suffix.lower() == ".jsonl" and first.rstrip().endswith(b"]"):
            file.seek(0)
            yield from _lines(path, file)
            return
        raise AuditorError(f"{path} is not valid JSON ({error}).") from error
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else _no_object(row)


def _no_object(value: object) -> Fault:
    return Fault("object", f"expected a JSON object, found {quoted(value, _SHOWN)}")


def _in_lines(path: Path, file: IO[bytes]) -> Iterator[Row]:
    """Rows of an object a line."""
    rows = _lines(path, file)
    first = list(islice(rows, 2))
    if len(first) == 1 or (first and isinstance(first[0][1], Fault)):
        _check_one_document(path, file, first[0][1])
    yield from chain(first, rows)


def _check_one_document(path: Path, file: IO[bytes], first: dict[str, Any] | Fault) -> None:
    """Refuse one object, and objects that run over several lines.

    Raises:
        AuditorError: Says what it holds, and what to do.
    """
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    if isinstance(first, dict):
        if first and not _holds_rows(first) and not _is_of_columns(first):
            return
        whole = first
    else:
        try:
            whole = parse_json(content, finite=False)
        except ValueError as error:
            line = content.removeprefix(_BOM).lstrip().partition(b"\n")[0].rstrip()
            if b"," in line and b"\0" not in line and line[:1] not in _OF_JSON:
                raise AuditorError(
                    f"{path} holds no JSON, and looks like CSV; if it is, give it a name that "
                    "ends in .csv."
                ) from error
            if path.suffix.lower() == ".json" and not line.endswith(b"}"):
                raise AuditorError(
                    f"{path} is not valid JSON ({error}): neither a list of objects nor an object "
                    "a line."
                ) from error
            if line in (b"{", b"") or line.endswith((b",", b"{", b"[")):
                raise AuditorError(
                    f"{path}: its objects run over several lines, and JSON Lines has one a line; "
                    f"write them so: `jq -c . {path.name}`."
                ) from error
            return
    raise AuditorError(f"{path} holds {_described(whole)}, expected a list of objects.")


def _described(whole: Any) -> str:
    """What a JSON document is, and which part may be meant."""
    if not isinstance(whole, dict):
        return f"{type(whole).__name__} ({quoted(whole, _SHOWN)})"
    if name := _holds_rows(whole):
        return (
            f"one object, whose key {quoted(name)!r} has a list of {len(whole[name]):,} (give that "
            "list alone)"
        )
    if _is_of_columns(whole):
        return 'one object of columns (pandas writes rows with `to_json(orient="records")`)'
    keys = ", ".join(f"`{quoted(name, _SHOWN)}`" for name in islice(whole, 12))
    return f"one object ({keys or 'empty'})"


def _holds_rows(whole: Mapping[str, Any]) -> str | None:
    """Name of the first key with a list of objects."""
    lists = (name for name, value in whole.items() if isinstance(value, list))
    return next((name for name in lists if any(isinstance(x, dict) for x in whole[name])), None)


def _is_of_columns(whole: Mapping[str, Any]) -> bool:
    """Whether an object holds columns.

    Each is a list, or an object of row numbers.
    """
    return bool(whole) and all(
        isinstance(column, list)
        or (isinstance(column, dict) and bool(column) and all(map(str.isdecimal, column)))
        for column in whole.values()
    )


def _lines(path: Path, file: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(iter(partial(file.readline, _LINE), b""), 1):
        if len(line) == _LINE:
            raise AuditorError(f"{path}:{number}: the line is longer than {_LINE:,} bytes.")
        if not line.removeprefix(_BOM).strip():
            continue
        try:
            row = parse_json(line, finite=False)
        except UnicodeDecodeError as error:
            yield number, _not_utf8(error)
        except ValueError as error:
            yield number, Fault("JSON", f"not valid JSON ({error})")
        else:
            yield number, row if isinstance(row, dict) else _no_object(row)


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(_LINE)
    with (
        open_regular(path, DATA) as binary,
        io.TextIOWrapper(binary, newline="", encoding="utf-8-sig") as file,
    ):
        _check_format(path, binary)
        try:
            blank = _check_delimiter(path, file.readline(_LINE))
            file.seek(0)
            yield from _csv_rows(path, file, blank)
        except UnicodeDecodeError as error:
            raise AuditorError(f"{path}:{_undecodable(path)}: {_not_utf8(error)}.") from error


def _csv_rows(path: Path, file: IO[str], blank: bool) -> Iterator[Row]:
    # without `strict`, an open quote swallows all that follows
    reader = csv.DictReader(file, strict=True, skipinitialspace=blank)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if len(names) > MOST_COLUMNS:
            raise AuditorError(
                f"{path} has {len(names):,} columns, and no more than {MOST_COLUMNS:,} are read."
            )
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise AuditorError(f"{path} has the column {twice[0]!r} twice.")
        reader.fieldnames = names
        for row in reader:
            if None in row or None in row.values():
                yield reader.line_num, _uneven(names, row)
            else:  # CSV has no other word for nothing than an empty cell
                yield reader.line_num, {name: cell or None for name, cell in row.items()}
    except csv.Error as error:
        yield reader.line_num + 1, Fault("CSV", f"not readable as CSV ({error})")


def _uneven(names: list[str], row: Mapping[Any, Any]) -> Fault:
    """Fault of a row with more or fewer cells than columns."""
    found = sum(value is not None for name, value in row.items() if name is not None)
    found += len(row.get(None) or ())
    advice = "; a comma within a text needs quotes around it" if found > len(names) else ""
    return Fault("columns", f"expected {len(names)} columns, found {found}{advice}")


def _check_delimiter(path: Path, header: str) -> bool:
    """Refuse a header that something else than commas separates.

    Returns:
        Whether blanks stand after its commas.

    Raises:
        AuditorError: Names what separates it.
    """
    shown = quoted(header.rstrip("\r\n"), _SHOWN)
    if header.lower().startswith("sep="):
        raise AuditorError(
            f"{path} begins with a line of Excel's, `{shown}`; take it out, and separate the "
            "columns by commas."
        )

    def count(delimiter: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=delimiter, strict=True), []))
        except csv.Error:
            return 0

    best = max((",", *_DELIMITERS), key=count)
    if best != "," and count(best) > 1:
        raise AuditorError(
            f"{path}: its columns are separated by {_DELIMITERS[best]} (`{shown}`), and CSV is "
            "read with commas; save it with commas, or as JSON Lines."
        )
    return ", " in header


def _undecodable(path: Path) -> int:
    """Number of the first line that is not UTF-8."""
    with open_regular(path, DATA) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_regular(path, DATA) as file:
        _check_format(path, file, ())

    def rows() -> list[dict[str, Any]]:
        with open_regular(path, DATA) as file:
            found: list[dict[str, Any]] = pq.read_table(file, use_threads=False).to_pylist()
        return found

    if limit := exceeded(rows):
        raise AuditorError(
            f"{path} takes more {limit} to unfold than a table of facts does; write its facts as "
            "JSON Lines."
        )
    try:
        found = rows()
    except UnfitFileError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        said = str(error).partition("\n")[0]
        raise AuditorError(f"{path} is not readable as Parquet ({said}).") from error
    yield from enumerate(found, 1)


def out_of_reach(source: DataSource) -> bool:
    """Return whether neither the hub nor this machine has a data set.

    No library is imported to tell.
    """
    if source.path is not None or Path(source.dataset or "").exists():
        return False
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    loaded = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    fetched = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    name = source.dataset or ""
    copies = (
        fetched / f"datasets--{name.replace('/', '--')}",
        loaded / name.replace("/", "___"),
        loaded / name.replace("/", "___").lower(),  # as `datasets` writes it
    )
    return not any(map(Path.exists, copies)) and not hub_in_reach()


def _hub_rows(source: DataSource) -> Iterator[Row]:
    if out_of_reach(source):
        raise AuditorError(f"the data set {source.name} cannot be had from the hub: {no_network()}")
    reached = Path(source.dataset or "").exists() or hub_in_reach()
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        rows: Iterable[dict[str, Any]] = load_dataset(
            source.dataset, source.config, split=source.split, revision=source.revision
        )
    except (OSError, ValueError, DatasetsError) as error:
        if not reached:
            raise AuditorError(
                f"the data set {source.name} cannot be had from the hub: {no_network()}"
            ) from error
        raise AuditorError(
            f"the data set {source.name} cannot be had from the hub ({error})."
        ) from error
    yield from enumerate(rows, 1)


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = MappingProxyType(
    {".jsonl": _json, ".json": _json, ".csv": _csv, ".parquet": _parquet}
)
"""Readers of files by their ending."""
