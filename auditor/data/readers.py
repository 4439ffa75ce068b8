"""Reading of facts from the rows of files and hub data sets.

Every bad row is reported, at once.
"""

import csv
import difflib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import ValidationError

from auditor.core import aliases
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, SetName
from auditor.core.limits import exceeded
from auditor.core.messages import Message, message
from auditor.core.network import hub_in_reach, no_network
from auditor.core.paths import close_names_beside
from auditor.core.reading import DATA, UnfitFileError, open_regular, parse_json, read_regular
from auditor.data.edges import trim
from auditor.data.source import SCHEMAS, DataSource
from auditor.data.unread_formats import way_out

Row = tuple[int, dict[str, Any] | str]
"""Line (or row) number counted from 1, and the row, or what is wrong with it."""

_NEEDED = ("prompt", "answer")
"""Fields without which there is no fact."""
_COLUMNS = 1_000
"""Most columns of a row."""
_NAMED = 50
"""Most columns that a message names."""
_LINE = 32 * 2**20
"""Most bytes of a line of JSON."""
_LONGEST = 500_000
"""Most characters of a text: far more than any model's context holds."""
_FAULTS = 200
"""Most different faults that a message names."""
_SPANS = 12
"""Most runs of lines that a message names."""


class ReadFacts(NamedTuple):
    """Facts of one set, and notes on their reading."""

    facts: tuple[Fact, ...]
    notes: tuple[Message, ...]


def read_facts(source: DataSource, set_name: SetName) -> tuple[Fact, ...]:
    """Read one set of facts, as `read_noted` does.

    Raises:
        AuditorError: The source cannot be read, or rows are bad.
    """
    return read_noted(source, set_name).facts


def read_noted(source: DataSource, set_name: SetName) -> ReadFacts:
    """Read one set of facts, and note what was changed in reading.

    A row without an id is called by its set and line; one without an entity is its own entity.
    Characters at the ends of texts that nobody sees are trimmed, in every format.

    Raises:
        AuditorError: The source cannot be read, or rows are bad; it names them all, by line, those
            with the same fault together.
    """
    facts: list[Fact] = []
    problems: list[tuple[int, str]] = []
    trimmed = 0
    for line, row in read_rows(source):
        if isinstance(row, str):
            problems.append((line, row))
            continue
        try:
            fact, edges = _fact(row, source, f"{set_name}-{line:05d}")
            facts.append(fact)
            trimmed += edges
        except ValidationError as error:
            said = "; ".join(
                f"{source.column(str(e['loc'][0]))}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            )
            problems.append((line, said))
        except ValueError as error:
            problems.append((line, str(error)))
    if problems:
        raise AuditorError(
            f"{len(problems)} bad row(s) in the {set_name} set:\n  "
            + "\n  ".join(_described(source, problems))
        )
    if not facts:
        raise AuditorError(f"{source.name} holds no rows for the {set_name} set.")
    notes = [message("edges_trimmed", set=set_name, facts=trimmed)] if trimmed else []
    return ReadFacts(tuple(facts), tuple(notes))


def _described(source: DataSource, problems: Iterable[tuple[int, str]]) -> Iterator[str]:
    """A sentence for each fault, with the lines that have it."""
    lines: dict[str, list[int]] = {}
    for line, said in problems:
        lines.setdefault(said, []).append(line)
    for said, found in islice(lines.items(), _FAULTS):
        if len(found) == 1:
            yield f"{source.name}:{found[0]}: {said}"
        else:
            yield f"{source.name}: {len(found)} rows (lines {_ranges(found)}): {said}"


def _ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in short: ``1-3, 7``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in spans]
    if len(shown) > _SPANS:
        shown = [*shown[:_SPANS], "…"]
    return ", ".join(shown)


def _fact(row: dict[str, Any], source: DataSource, default_id: str) -> tuple[Fact, bool]:
    """Return a row's fact, and whether its texts were trimmed."""
    if len(row) > _COLUMNS:
        raise ValueError(f"has {len(row):,} columns, and no more than {_COLUMNS:,} are read")
    values = {field: row.get(source.column(field)) for field in Fact.model_fields}
    for former, field in aliases.FIELDS.items():
        values[field] = row.get(former) if values[field] is None else values[field]
    values["id"] = default_id if values["id"] is None else str(values["id"])
    values["entity"] = values["id"] if values["entity"] is None else str(values["entity"])
    for field in ("paraphrases", "distractors", "accepted"):
        values[field] = _texts(values[field], source.column(field))
    needed = {field: source.column(field) for field in (*_NEEDED, *source.fields)}
    if missing := {field: name for field, name in needed.items() if name not in row}:
        raise ValueError(_missing_columns(missing, row))
    if empty := [name for name in dict.fromkeys(needed.values()) if row[name] is None]:
        raise ValueError("; ".join(f"{name}: is empty" for name in empty))
    edges = trim(values)
    fact = Fact(**values)
    for field, value in fact:
        texts = (value,) if isinstance(value, str) else value or ()
        if longest := max((len(text) for text in texts if len(text) > _LONGEST), default=0):
            raise ValueError(
                f"{source.column(field)}: has {longest:,} characters, and no more than "
                f"{_LONGEST:,} are read; cut it into passages, a fact each"
            )
    return fact, edges


def _missing_columns(missing: Mapping[str, str], row: Mapping[str, Any]) -> str:
    """Return a text on a row's missing columns.

    It names the columns that may be meant.

    Args:
        missing: Fact field to the column that should hold it.
        row: What is there.
    """
    names = " or ".join(f"`{name}`" for name in missing.values())
    likely = {field: _likely_column(field, name, row) for field, name in missing.items()}
    if None in likely.values():
        there = ", ".join(f"`{name}`" for name in sorted(row)[:_NAMED]) or "none"
        there += ", …" if len(row) > _NAMED else ""
        return f"no column {names}; the columns are {there} (map names with `fields: {{…}}`)"
    there = ", ".join(f"`{name}`" for name in likely.values())
    mapping = ", ".join(f"{field}: {name}" for field, name in likely.items())
    return f"no column {names}; the file has {there}: `fields: {{{mapping}}}`"


def _likely_column(field: str, name: str, row: Mapping[str, Any]) -> str | None:
    """Return the column that may hold a fact's field.

    It is one of a published layout, or one with a close name.
    """
    published = [layout.get(field) for layout in SCHEMAS.values()]
    for column in row:
        if column == field or column in published:
            return column
    close = difflib.get_close_matches(name, list(row), n=1)
    return close[0] if close else None


def _texts(value: Any, column: str) -> tuple[str, ...]:
    """A list of texts; CSV holds it as a JSON list."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return (value,)
        try:
            value = parse_json(value)
        except ValueError as error:
            raise ValueError(f"{column}: not a JSON list of texts ({error})") from error
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{column}: expected a list of texts")
    return tuple(value)


def read_rows(source: DataSource) -> Iterator[Row]:
    """Yield the rows of a source, good and bad.

    Raises:
        AuditorError: The source cannot be read.
    """
    if source.path is None:
        yield from _hub_rows(source)
        return
    path = Path(source.path).expanduser()
    if (said := way_out(path, tuple(READERS))) is not None:
        raise AuditorError(said)
    if not path.exists():
        raise AuditorError(f"{path}: no such file{close_names_beside(path)}.")
    try:
        yield from READERS[path.suffix.lower()](path)
    except UnfitFileError as error:
        raise AuditorError(f"{path} cannot be read: {error.strerror}.") from error


def _json_lines(path: Path) -> Iterator[Row]:
    with open_regular(path, DATA) as file:
        for number, line in enumerate(iter(partial(file.readline, _LINE), b""), 1):
            if not line.strip():
                continue
            if len(line) == _LINE:
                raise AuditorError(f"{path}:{number}: the line is longer than {_LINE:,} bytes.")
            try:
                row = parse_json(line)
            except ValueError as error:
                yield number, f"not valid JSON ({error})"
                continue
            yield number, row if isinstance(row, dict) else "expected a JSON object"


def _json(path: Path) -> Iterator[Row]:
    try:
        rows = parse_json(read_regular(path, DATA))
    except ValueError as error:
        raise AuditorError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(rows, list):
        raise AuditorError(f"{path} holds {type(rows).__name__}, expected a list of objects.")
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else "expected a JSON object"


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(_LINE)
    with (
        open_regular(path, DATA) as binary,
        io.TextIOWrapper(binary, newline="", encoding="utf-8-sig") as file,
    ):
        reader = csv.DictReader(file, strict=True)  # else an open quote swallows all that follows
        try:
            names = list(reader.fieldnames or ())
            if len(names) > _COLUMNS:
                raise AuditorError(
                    f"{path} has {len(names):,} columns, and no more than {_COLUMNS:,} are read."
                )
            if twice := sorted(name for name, count in Counter(names).items() if count > 1):
                raise AuditorError(f"{path} has the column {twice[0]!r} twice.")
            for row in reader:
                if None in row or None in row.values():
                    yield reader.line_num, f"expected {len(names)} columns"
                else:  # CSV has no other word for nothing than an empty cell
                    yield reader.line_num, {name: cell or None for name, cell in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            yield reader.line_num + 1, f"not readable as CSV ({error})"


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

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
        raise AuditorError(f"{path} is not readable as Parquet ({error}).") from error
    yield from enumerate(found, 1)


def _hub_rows(source: DataSource) -> Iterator[Row]:
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
    {".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
)
"""Readers of files by their ending."""
