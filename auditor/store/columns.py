"""Columns of knowledge, as they are kept on disk and read."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from auditor.core.aliases import COLUMNS
from auditor.core.facts import SetName
from auditor.core.records import Row

SCHEMA = pa.schema(
    [
        pa.field("set", pa.string(), nullable=False),
        pa.field("fact", pa.string(), nullable=False),
        pa.field("entity", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("k", pa.float64(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("picture", pa.binary()),
        pa.field("prompt", pa.string()),
    ]
)
"""Columns and their types."""

ADDED = frozenset({"picture", "prompt"})
"""Columns that evidence of earlier releases does not have."""

DECIDING = ("set", "fact", "metric", "k")
"""Columns that a verdict needs."""

ANSWERED = ("set", "fact", "answer")
"""Columns that say what was answered."""

REPEATED = ("set", "fact", "metric")
"""Columns with few different values. Read as dictionaries they take a third of the time."""


def tabulate(rows: Iterable[Row]) -> pa.Table:
    """The rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist([row._asdict() for row in rows], SCHEMA)


def named(table: pa.Table) -> pa.Table:
    """The table with today's names of its columns."""
    return table.rename_columns([COLUMNS.get(name, name) for name in table.column_names])


def knowledge(
    table: pa.Table, set_name: SetName, metric: str
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return facts of one set, and their K by one metric [facts].

    They are in the order of the rows.
    """
    wanted = _is(table["set"], set_name) & _is(table["metric"], metric)
    names, codes = coded(table["fact"])
    known = numbers(table["k"].combine_chunks())
    return [names[code] for code in codes[wanted].tolist()], known[wanted]


def answers(table: pa.Table, set_name: SetName) -> dict[str, str]:
    """Return what the model answered, by fact.

    Facts for which it was not made to answer are absent.
    """
    wanted = pc.and_(pc.equal(table["set"], set_name), pc.is_valid(table["answer"]))
    held = table.filter(wanted)
    said: dict[str, str] = {}
    for fact, answer in zip(_texts(held["fact"]), _texts(held["answer"]), strict=True):
        said.setdefault(fact, answer)
    return said


def pictures(table: pa.Table, set_name: SetName) -> dict[str, bytes]:
    """Return what the model drew, by fact.

    Facts for which it drew nothing are absent.
    """
    if "picture" not in table.column_names:
        return {}
    wanted = pc.and_(pc.equal(table["set"], set_name), pc.is_valid(table["picture"]))
    held = table.filter(wanted)
    drawn: dict[str, bytes] = {}
    for fact, picture in zip(
        _texts(held["fact"]), held["picture"].cast(pa.binary()).to_pylist(), strict=True
    ):
        drawn.setdefault(fact, picture)
    return drawn


def prompts(table: pa.Table, set_name: SetName) -> dict[str, str]:
    """Return questions that were put in place of facts' own.

    Of several, the one that led to the answer that `answers` returns.
    """
    if "prompt" not in table.column_names:
        return {}
    held = table.filter(pc.equal(table["set"], set_name))
    if held["prompt"].null_count == len(held):
        return {}
    said = _texts(held["answer"])
    found: dict[str, str | None] = {}
    for answered in (True, False):
        for fact, answer, prompt in zip(
            _texts(held["fact"]), said, _texts(held["prompt"]), strict=True
        ):
            if (answer is not None) == answered:
                found.setdefault(fact, prompt)
    return {fact: prompt for fact, prompt in found.items() if prompt is not None}


def plain(table: pa.Table) -> pa.Table:
    """The table without dictionaries, which differ from job to job."""
    return table.cast(
        pa.schema(
            [
                pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type)
                for f in table.schema
            ]
        )
    )


def _is(column: pa.ChunkedArray, value: str) -> npt.NDArray[np.bool_]:
    """Return which rows hold a value."""
    names, codes = coded(column)
    wanted: npt.NDArray[np.bool_] = codes == (names.index(value) if value in names else -1)
    return wanted


def coded(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The different values, and the place among them of each row's."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.combine_chunks()
    return whole.dictionary.to_pylist(), numbers(whole.indices)


def numbers(array: pa.Array) -> npt.NDArray[Any]:
    """The numbers of an array without nulls.

    They are shared by DLPack: every other way from arrow to numpy imports pandas, which takes
    longer than everything else that a gate does.
    """
    return np.from_dlpack(array)


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Return the texts of a column.

    Arrow resolves a dictionary far faster than a lookup of each value.
    """
    texts: list[str] = column.cast(pa.string()).to_pylist()
    return texts
