"""Columns of rows: found by name or by path, and unread ones."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from auditor.core import aliases
from auditor.core.facts import Fact
from auditor.data.layouts import published_columns
from auditor.data.source import DataSource

_NAMED = 50
"""Most columns that a message names."""
_DEPTH = 3
"""Levels of objects within objects in which a column is looked for."""
_LEFT_BY_TOOLS = frozenset({"", "Unnamed: 0", "__index_level_0__"})
"""Columns that pandas writes for its row numbers."""


def found(row: Mapping[str, Any], column: str) -> tuple[bool, Any]:
    """Find a column in a row.

    A name with dots means a column within another, or an element of a list, where no column has
    the name as it stands.

    Returns:
        Whether it is there, and what it holds.
    """
    if column in row:
        return True, row[column]
    value: Any = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return False, None
    return True, value


def missing(absent: Mapping[str, str], row: Mapping[str, Any]) -> str:
    """Return a text on a row's missing columns.

    It names the columns that may be meant.

    Args:
        absent: Fact field to the column that should hold it.
        row: What is there.
    """
    names = " or ".join(f"`{name}`" for name in absent.values())
    likely = {field: likely_column(field, name, row) for field, name in absent.items()}
    if None in likely.values():
        there = ", ".join(f"`{name}`" for name in sorted(map(str, row))[:_NAMED]) or "none"
        there += ", …" if len(row) > _NAMED else ""
        return f"no column {names}; the columns are {there} (map names with `fields: {{…}}`)"
    there = ", ".join(f"`{name}`" for name in likely.values())
    mapping = ", ".join(f"{field}: {name}" for field, name in likely.items())
    return f"no column {names}; the file has {there}: `fields: {{{mapping}}}`"


def likely_column(field: str, name: str, row: Mapping[str, Any]) -> str | None:
    """Return the column that may hold a fact's field.

    It is one of a published layout, or one with a close name.
    """
    there = dict(islice(_paths(row), _NAMED * _DEPTH))
    plain = {_plain(last): path for path, last in reversed(there.items())}
    for column in (name, *published_columns(field)):
        if (path := plain.get(_plain(column))) is not None:
            return path
    close = difflib.get_close_matches(_plain(name), list(plain), n=1)
    return plain[close[0]] if close else None


def _paths(
    row: Mapping[str, Any], before: str = "", depth: int = _DEPTH
) -> Iterator[tuple[str, str]]:
    """Yield the columns of a row with their last names.

    Those within others come after them.
    """
    yield from ((f"{before}{name}", name) for name in row)
    for name, value in row.items() if depth > 1 else ():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{name}.", depth - 1)


def _plain(name: str) -> str:
    return "".join(character for character in str(name).casefold() if character.isalnum())


def read_columns(source: DataSource) -> frozenset[str]:
    """Columns of a source that facts are read from."""
    names = {source.column(field) for field in Fact.model_fields} | set(aliases.FIELDS)
    return frozenset(names | {name.partition(".")[0] for name in names})


def unread(source: DataSource, columns: Iterable[str]) -> dict[str, str | None]:
    """Return the columns that no field is read from.

    Args:
        source: Says what is read, and what its layout holds besides.
        columns: Columns that are there.

    Returns:
        Column to the field that is likely meant by it and that no column gives; or to None.
    """
    there = set(columns)
    known = read_columns(source) | source.published.unneeded | _LEFT_BY_TOOLS
    lacking = [
        field
        for field in Fact.model_fields
        if field != "id" and source.column(field) not in there and field not in source.fields
    ]
    meant = {
        _plain(name): field for field in reversed(lacking) for name in published_columns(field)
    }

    def field_of(column: str) -> str | None:
        close = difflib.get_close_matches(_plain(column), list(meant), n=1, cutoff=0.8)
        return meant[close[0]] if close else None

    return {column: field_of(column) for column in sorted(there - known)[:_NAMED]}
