"""Reading of facts from the rows of files and hub data sets.

Every bad row is reported, at once.
"""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from pydantic import ValidationError

from auditor.core import aliases
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, SetName
from auditor.core.messages import Message, message
from auditor.core.text_safety import quoted
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
    facts: list[Fact] = []
    problems: list[tuple[int, Fault]] = []
    columns: set[str] = set()
    trimmed = 0
    places = None if source.published.indexed else PlacesAsAnswers(source)
    for index, (line, row) in enumerate(read_rows(source)):
        if isinstance(row, Fault):
            problems.append((line, row))
            continue
        if len(row) <= MOST_COLUMNS:
            columns.update(row)
            if places is not None:
                places.see(line, row)
        try:
            fact, edges = _fact(row, source, index, f"{set_name}-{line:05d}")
            facts.append(fact)
            trimmed += edges
        except FaultError as error:
            problems.append((line, error.fault))
    if places is not None:
        places.check()
    if problems:
        raise AuditorError(
            f"{len(problems)} bad row(s) in the {set_name} set:\n  "
            + "\n  ".join(_described(source, problems))
        )
    if not facts:
        raise AuditorError(f"{source.name} holds no rows for the {set_name} set.")
    notes = [message("edges_trimmed", set=set_name, facts=trimmed)] if trimmed else []
    if left := unread(source, columns):
        meant = {field: quoted(column) for column, field in left.items() if field is not None}
        columns_left = [quoted(column) for column in left]
        notes.append(message("columns_not_read", of=set_name, columns=columns_left, meant=meant))
    return ReadFacts(tuple(facts), tuple(notes))


def _described(source: DataSource, problems: Iterable[tuple[int, Fault]]) -> Iterator[str]:
    """A sentence for each kind of fault, with its lines."""
    kinds: dict[Hashable, list[tuple[int, str]]] = {}
    for line, fault in problems:
        kinds.setdefault(fault.kind, []).append((line, fault))
    for rows in islice(kinds.values(), _FAULTS):
        lines, sayings = zip(*rows, strict=True)
        first = ", the first" if len(set(sayings)) > 1 else ""
        if len(rows) == 1:
            yield f"{source.name}:{lines[0]}: {sayings[0]}"
        else:
            yield (f"{source.name}: {len(rows)} rows (lines {_ranges(lines)}){first}: {sayings[0]}")
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
    row: Mapping[str, Any], source: DataSource, index: int, default_id: str
) -> tuple[Fact, bool]:
    """Return a row's fact, and whether its texts were trimmed.

    Raises:
        FaultError: It is none.
    """
    if len(row) > MOST_COLUMNS:
        said = f"has {len(row):,} columns, and no more than {MOST_COLUMNS:,} are read"
        raise FaultError("columns", said)
    values = {field: _value(row, source, field) for field in Fact.model_fields}
    values["id"] = default_id if values["id"] is None else str(values["id"])
    if values["entity"] is None and source.rows_per_entity is not None:
        values["entity"] = f"rows-of-{index // source.rows_per_entity:05d}"
    values["entity"] = values["id"] if values["entity"] is None else str(values["entity"])
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
    return "" if source.published.hazardous else f" ({quoted(value, _SHOWN)})"


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
