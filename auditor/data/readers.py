"""Reading of facts from the rows of files and hub data sets.

Every bad row is reported, at once.
"""

import dataclasses
import difflib
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from pydantic import ValidationError

from auditor.core import aliases
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, SetName
from auditor.core.messages import Message, message
from auditor.core.text_safety import quoted
from auditor.data.checks import identity
from auditor.data.choices import PlacesAsAnswers, chosen, texts
from auditor.data.columns import found, missing, unread
from auditor.data.edges import trim
from auditor.data.rows import MOST_COLUMNS, Fault, read_rows
from auditor.data.source import DataSource

_NEEDED = ("prompt", "answer")
"""Fields without which there is no fact."""
_LISTS = ("paraphrases", "distractors", "accepted")
"""Fields that hold several texts."""
_LONGEST = 500_000
"""Most characters of a text: far more than any model's context holds."""
_FAULTS = 200
"""Most different faults that a message names."""
_SPANS = 12
"""Most runs of lines that a message names."""
_VALUES = 1_000
"""Most values of other rows that are remembered."""
_SHOWN = 60
"""Most characters of a value that a message shows."""
_NOT_A_NUMBER = frozenset({"nan", "NaN", "<NA>"})
"""Words of pandas for a missing cell of CSV."""


class ReadFacts(NamedTuple):
    """Facts of one set, and notes on their reading."""

    facts: tuple[Fact, ...]
    notes: tuple[Message, ...]


class FaultError(ValueError):
    """A row that is no fact."""

    def __init__(self, kind: Hashable, said: str) -> None:
        super().__init__(said)
        self.fault = Fault(kind, said)


def read_facts(source: DataSource, set_name: SetName) -> tuple[Fact, ...]:
    """Read one set of facts, as `read_noted` does.

    Raises:
        AuditorError: The source cannot be read, or rows are bad.
    """
    return read_noted(source, set_name).facts


def read_noted(source: DataSource, set_name: SetName) -> ReadFacts:
    """Read one set of facts, and note what was left or changed.

    A row without an id is called by its set and line; one without an entity is its own entity.
    Characters at the ends of texts that nobody sees are trimmed, in every format. Columns from
    which nothing is read are noted.

    Raises:
        AuditorError: The source cannot be read, or rows are bad; it names them all, by line, those
            with the same fault together.
    """
    reading = _Reading()
    for place, one in enumerate((source, *source.further)):
        begin = f"{set_name}-{place}-" if place else f"{set_name}-"
        _read_source(one, begin, reading)
    if reading.problems:
        count = sum(map(len, reading.problems.values()))
        raise AuditorError(
            f"{count} bad row(s) in the {set_name} set:\n  "
            + "\n  ".join(
                line for one, found in reading.problems.items() for line in _described(one, found)
            )
        )
    return ReadFacts(tuple(reading.facts), tuple(reading.notes(set_name)))


@dataclass
class _Reading:
    """What was read so far of a set."""

    facts: list[Fact] = dataclasses.field(default_factory=list)
    problems: dict[str, list[tuple[int, Fault]]] = dataclasses.field(default_factory=dict)
    """Name of a source to the lines of its bad rows."""
    unread: dict[str, str | None] = dataclasses.field(default_factory=dict)
    trimmed: int = 0
    repeated: int = 0
    published: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """Rows of sources that have others than are published, and these."""
    _seen: set[tuple[str, str]] = dataclasses.field(default_factory=set)

    def add(self, fact: Fact, edges: bool, once: bool) -> None:
        """Keep a fact, unless an earlier one asks and answers the same.

        Args:
            fact: The fact.
            edges: Whether its texts were trimmed.
            once: Whether facts that repeat an earlier one are dropped.
        """
        if once and identity(fact) in self._seen:
            self.repeated += 1
            return
        self._seen.add(identity(fact))
        self.facts.append(fact)
        self.trimmed += edges

    def notes(self, set_name: SetName) -> Iterator[Message]:
        """Notes on the reading."""
        if self.trimmed:
            yield message("edges_trimmed", set=set_name, facts=self.trimmed)
        if self.repeated:
            yield message("repeated_rows_dropped", of=set_name, rows=self.repeated)
        for rows, published in self.published:
            yield message("rows_not_as_published", of=set_name, rows=rows, published=published)
        if self.unread:
            meant = {name: quoted(column) for column, name in self.unread.items() if name}
            columns = [quoted(column) for column in self.unread]
            yield message("columns_not_read", of=set_name, columns=columns, meant=meant)


def _read_source(source: DataSource, begin: str, reading: _Reading) -> None:
    """Read the rows of one source.

    Args:
        source: The source.
        begin: Beginning of the ids of rows that have none.
        reading: What was read before; it is added to.

    Raises:
        AuditorError: It cannot be read, or holds no row that is wanted.
    """
    columns: set[str] = set()
    values: set[str] = set()
    problems: list[tuple[int, Fault]] = []
    places = PlacesAsAnswers(source)
    rows = 0
    for rows, (line, row) in enumerate(read_rows(source), 1):
        if isinstance(row, Fault):
            problems.append((line, row))
            continue
        if not _is_wanted(row, source, values):
            continue
        if len(row) <= MOST_COLUMNS:
            columns.update(row)
            places.see(line, row)
        try:
            fact, edges = _fact(row, source, f"{begin}{line:05d}", _group(source, begin, rows))
        except FaultError as error:
            problems.append((line, error.fault))
        else:
            reading.add(fact, edges, once=source.repeats == "dropped")
    places.check()
    _check_rows(source, rows, bool(columns or problems), values)
    if problems:
        reading.problems.setdefault(source.name, []).extend(problems)
    if source.published_rows not in (None, rows):
        reading.published.append((rows, source.published_rows or 0))
    reading.unread |= unread(source, columns)


def _group(source: DataSource, begin: str, rows: int) -> str | None:
    """Entity of a row that names none, among rows that stand together."""
    each = source.rows_per_entity
    return None if each is None else f"{begin}entity-{(rows - 1) // each}"


def _is_wanted(row: Mapping[str, Any], source: DataSource, values: set[str]) -> bool:
    """Return whether a row is to be read.

    What other rows have in its place is noted.
    """
    for column, value in source.only.items():
        said = str(found(row, column)[1])
        if said != value:
            if len(values) < _VALUES:
                values.add(said)
            return False
    return True


def _check_rows(source: DataSource, rows: int, wanted: bool, values: set[str]) -> None:
    """Refuse a source without wanted rows, or with halves of entities.

    Raises:
        AuditorError: Says what there is.
    """
    if not rows:
        raise AuditorError(f"{source.name} holds no rows.")
    if not wanted:
        asked = ", ".join(f"{column} {value!r}" for column, value in source.only.items())
        (value,) = list(source.only.values())[-1:]
        close = difflib.get_close_matches(value, values, n=3, cutoff=0.4) or sorted(values)[:3]
        there = ", ".join(quoted(name, _SHOWN) for name in close)
        raise AuditorError(f"{source.name} has no row with the {asked}; there is {there}.")
    if source.rows_per_entity and rows % source.rows_per_entity and not source.only:
        raise AuditorError(
            f"{source.name} has {rows:,} rows, which are no whole number of entities with "
            f"{source.rows_per_entity} rows each (`rows_per_entity`)."
        )


def _described(name: str, problems: Iterable[tuple[int, Fault]]) -> Iterator[str]:
    """A sentence for each kind of fault, with its lines."""
    kinds: dict[Hashable, list[tuple[int, str]]] = {}
    for line, fault in problems:
        kinds.setdefault(fault.kind, []).append((line, fault))
    for rows in islice(kinds.values(), _FAULTS):
        lines, sayings = zip(*rows, strict=True)
        first = ", the first" if len(set(sayings)) > 1 else ""
        if len(rows) == 1:
            yield f"{name}:{lines[0]}: {sayings[0]}"
        else:
            yield (f"{name}: {len(rows)} rows (lines {_ranges(lines)}){first}: {sayings[0]}")
    if len(kinds) > _FAULTS:
        yield f"… and {len(kinds) - _FAULTS:,} further faults"


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


def _fact(
    row: Mapping[str, Any], source: DataSource, default_id: str, group: str | None
) -> tuple[Fact, bool]:
    """Return a row's fact, and whether its texts were trimmed.

    Args:
        row: The row.
        source: Says which column holds what.
        default_id: Id of a row that has none.
        group: Entity of a row that names none; None for one of its own.

    Raises:
        FaultError: It is none.
    """
    if len(row) > MOST_COLUMNS:
        said = f"has {len(row):,} columns, and no more than {MOST_COLUMNS:,} are read"
        raise FaultError("columns", said)
    values = {field: _value(row, source, field) for field in Fact.model_fields}
    values["id"] = default_id if values["id"] is None else str(values["id"])
    values["entity"] = str(values["entity"] or group or values["id"])
    needed = {field: source.column(field) for field in (*_NEEDED, *source.fields)}
    if absent := {f: name for f, name in needed.items() if not found(row, name)[0]}:
        raise FaultError(("missing", *absent), missing(absent, row))
    empty = [name for field, name in needed.items() if values[field] is None]
    if empty:
        said = "; ".join(f"{name}: is empty" for name in dict.fromkeys(empty))
        raise FaultError(("empty", *empty), said)
    for field in _LISTS:
        values[field] = _listed(values[field], source, field)
    if source.published.indexed:
        values["answer"], values["distractors"] = _chosen(values, source)
    _check_texts(values, source)
    edges = trim(values)
    try:
        fact = Fact(**values)
    except ValidationError as error:
        said = "; ".join(
            f"{source.column(str(e['loc'][0]))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise FaultError(said, said) from error
    _check_lengths(fact, source)
    return fact, edges


def _value(row: Mapping[str, Any], source: DataSource, field: str) -> Any:
    """What a row says of a field; None where it says nothing."""
    _, value = found(row, source.column(field))
    for former, current in aliases.FIELDS.items():
        if current == field and value is None:
            value = row.get(former)
    if isinstance(value, float) and math.isnan(value):
        return None
    cell = isinstance(value, str) and source.path is not None and source.path.endswith(".csv")
    return None if cell and field not in _NEEDED and value in _NOT_A_NUMBER else value


def _listed(value: Any, source: DataSource, field: str) -> tuple[str, ...]:
    column = source.column(field)
    try:
        return texts(value, column)
    except ValueError as error:
        raise FaultError(("list", field), f"{error}{_quote(source, value)}") from error


def _chosen(values: Mapping[str, Any], source: DataSource) -> tuple[str, tuple[str, ...]]:
    try:
        return chosen(values["answer"], values["distractors"], source.column("answer"))
    except ValueError as error:
        raise FaultError("place", str(error)) from error


def _check_texts(values: Mapping[str, Any], source: DataSource) -> None:
    """Refuse values that are no texts.

    Raises:
        FaultError: Says what they are, and what to do.
    """
    for field in ("prompt", "answer", "reworded_answer", "text"):
        value, column = values[field], source.column(field)
        if value is None or isinstance(value, str):
            continue
        shown = _quote(source, value)
        if isinstance(value, bool | int | float):
            said = f"is a {'truth value' if isinstance(value, bool) else 'number'}{shown}"
            advice = "write it as text, in quotes"
        elif isinstance(value, list | tuple):
            said, advice = f"is a list{shown}", "a fact has one; other answers stand in `accepted`"
        elif isinstance(value, Mapping):
            inner = next(iter(value), "…")
            said = f"is an object{shown}"
            advice = f"name the column within it, `fields: {{{field}: {column}.{inner}}}`"
        else:
            said, advice = f"is of the type {type(value).__name__}{shown}", "write it as text"
        raise FaultError(
            ("text", field, said[:8]), f"{column}: {said}, and a text is read: {advice}"
        )


def _quote(source: DataSource, value: Any) -> str:
    """A value in brackets.

    Nothing is quoted of a source whose texts may do harm.
    """
    return "" if source.hazardous else f" ({quoted(value, _SHOWN)})"


def _check_lengths(fact: Fact, source: DataSource) -> None:
    """Refuse texts that no model's context holds.

    Raises:
        FaultError: Says how long one is.
    """
    for field, value in fact:
        several = (value,) if isinstance(value, str) else value or ()
        if longest := max((len(text) for text in several if len(text) > _LONGEST), default=0):
            raise FaultError(
                ("long", field),
                f"{source.column(field)}: has {longest:,} characters, and no more than "
                f"{_LONGEST:,} are read; cut it into passages, a fact each",
            )
