"""Rows of files and hub data sets, turned into facts; every bad row is reported, at once."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, SetName
from auditor.data.source import FORMER_ENTITY, DataSource

Row = tuple[int, dict[str, Any] | str]
"""Line (or row) number counted from 1, and the row, or what is wrong with it."""


def read_facts(source: DataSource, set_name: SetName) -> tuple[Fact, ...]:
    """Read one set of facts.

    A row without an id is called by its set and line; one without an entity is its own entity.

    Raises:
        AuditorError: the source cannot be read, or rows are bad; it names them all, by line.
    """
    facts: list[Fact] = []
    problems: list[str] = []
    for line, row in _rows(source):
        if isinstance(row, str):
            problems.append(f"{source.name}:{line}: {row}")
            continue
        try:
            facts.append(_fact(row, source, f"{set_name}-{line:05d}"))
        except ValidationError as error:
            said = "; ".join(
                f"{source.column(str(e['loc'][0]))}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            )
            problems.append(f"{source.name}:{line}: {said}")
        except ValueError as error:
            problems.append(f"{source.name}:{line}: {error}")
    if problems:
        raise AuditorError(
            f"{len(problems)} bad row(s) in the {set_name} set:\n  " + "\n  ".join(problems)
        )
    if not facts:
        raise AuditorError(f"{source.name} holds no rows for the {set_name} set.")
    return tuple(facts)


def _fact(row: dict[str, Any], source: DataSource, default_id: str) -> Fact:
    values = {field: row.get(source.column(field)) for field in Fact.model_fields}
    if values["entity"] is None:
        values["entity"] = row.get(FORMER_ENTITY)
    values["id"] = default_id if values["id"] is None else str(values["id"])
    values["entity"] = values["id"] if values["entity"] is None else str(values["entity"])
    for field in ("paraphrases", "distractors"):
        values[field] = _texts(values[field], source.column(field))
    needed = [source.column(field) for field in ("prompt", "answer")]
    needed += [column for column in source.fields.values() if column not in needed]
    if missing := [column for column in needed if column not in row]:
        raise ValueError(
            f"no column {' or '.join(map(repr, missing))}; the row has {', '.join(sorted(row))} "
            "(map names with `fields:`)"
        )
    if empty := [column for column in needed if row[column] is None]:
        raise ValueError("; ".join(f"{column}: is empty" for column in empty))
    return Fact(**values)


def _texts(value: Any, column: str) -> tuple[str, ...]:
    """A list of texts; CSV holds it as a JSON list."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return (value,)
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{column}: not a JSON list of texts ({error})") from error
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{column}: expected a list of texts")
    return tuple(value)


def _rows(source: DataSource) -> Iterator[Row]:
    if source.path is None:
        yield from _hub_rows(source)
        return
    path = Path(source.path).expanduser()
    readers = {".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise AuditorError(
            f"{path}: unknown format {path.suffix!r}; known are {', '.join(readers)}."
        )
    if not path.is_file():
        raise AuditorError(f"{path}: no such file.")
    yield from reader(path)


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                yield number, f"not valid JSON ({error})"
                continue
            yield number, row if isinstance(row, dict) else "expected a JSON object"


def _json(path: Path) -> Iterator[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AuditorError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(rows, list):
        raise AuditorError(f"{path} holds {type(rows).__name__}, expected a list of objects.")
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else "expected a JSON object"


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)  # else an open quote swallows all that follows
        try:
            names = list(reader.fieldnames or ())
            if twice := sorted({name for name in names if names.count(name) > 1}):
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

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise AuditorError(f"{path} is not readable as Parquet ({error}).") from error
    yield from enumerate(table.to_pylist(), 1)


def _hub_rows(source: DataSource) -> Iterator[Row]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        rows: Iterable[dict[str, Any]] = load_dataset(
            source.dataset, source.config, split=source.split, revision=source.revision
        )
    except (OSError, ValueError, DatasetsError) as error:
        raise AuditorError(
            f"the data set {source.name} cannot be had from the hub ({error})."
        ) from error
    yield from enumerate(rows, 1)
