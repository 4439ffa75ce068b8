"""Rows of a job as a Parquet file, validated when read.

A digest says that a file is the one that was sealed, and nothing of who sealed it. So what is read
is held to what is written: its columns and their types, K in [0, 1], no fact twice. A small file
may also stand for a great table, so its claims are bounded before anything is unfolded.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from auditor.core.aliases import COLUMNS
from auditor.core.facts import SetName
from auditor.core.records import MOST_ROWS
from auditor.store.columns import ADDED, REPEATED, SCHEMA, coded, named, numbers

_UNFOLDED = 2**30
"""Most bytes of a job's rows, when they are no longer compressed."""
_PIECES = 1_000
"""Most row groups of a file."""
_CODECS = frozenset({"SNAPPY", "UNCOMPRESSED"})
"""Compressions of the files that are read: what is written, and none that makes much of little."""
_OPTIONAL = ADDED | {"answer"}
"""Columns whose values may be missing."""


def parse_rows(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Read rows, or some of their columns, under today's names.

    Args:
        content: What the file holds.
        columns: Names of columns; None for all.

    Returns:
        A table in which texts are dictionaries, so that a text is held once.

    Raises:
        ValueError: They are no rows that an audit wrote.
    """
    try:
        table = named(_unfolded(content, columns))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it is not readable as Parquet ({error})") from error
    _check_values(table)
    return table


def _unfolded(content: bytes, columns: Sequence[str] | None) -> pa.Table:
    source = pa.BufferReader(content)
    metadata = pq.read_metadata(source)
    _check_size(metadata)
    former = {now: name for name, now in COLUMNS.items() if name in metadata.schema.names}
    texts = [
        former.get(field.name, field.name)
        for field in SCHEMA
        if not pa.types.is_floating(field.type)
    ]
    there = [name for name in texts if name in metadata.schema.names]
    file = pq.ParquetFile(source, metadata=metadata, read_dictionary=there)
    _check_schema(named(file.schema_arrow.empty_table()).schema)
    wanted = None if columns is None else [former.get(name, name) for name in columns]
    return file.read(wanted, use_threads=False)


def _check_size(metadata: pq.FileMetaData) -> None:
    if not (0 <= metadata.num_rows <= MOST_ROWS and metadata.num_row_groups <= _PIECES):
        raise ValueError(
            f"it claims {metadata.num_rows:,} rows in {metadata.num_row_groups:,} groups"
        )
    held = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    unfolded = sum(max(column.total_uncompressed_size, 0) for column in held)
    if unfolded > _UNFOLDED:
        raise ValueError(f"it would unfold to {unfolded:,} bytes")
    if other := {column.compression for column in held} - _CODECS:
        raise ValueError(f"it is compressed as {min(other)}")


def _check_schema(schema: pa.Schema) -> None:
    """Hold columns to those written now or by earlier releases."""
    plain = {
        field.name: field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        for field in schema
    }
    written = dict(zip(SCHEMA.names, SCHEMA.types, strict=True))
    if len(plain) < len(schema) or plain != {
        name: kind for name, kind in written.items() if name not in ADDED or name in plain
    }:
        raise ValueError(f"its columns are {', '.join(map(ascii, schema.names[:20]))}")


def _check_values(table: pa.Table) -> None:
    held = set(table.column_names)
    for name in held - _OPTIONAL:
        if table[name].null_count:
            raise ValueError(f"its column {name} lacks values")
    if sum(map(_length, table.columns)) > _UNFOLDED:
        raise ValueError("its texts would unfold without end")
    if "k" in held:
        k = numbers(table["k"].combine_chunks())
        if not ((k >= 0) & (k <= 1)).all():
            raise ValueError("its K is not in [0, 1]")
    if "set" in held and not set(coded(table["set"])[0]) <= set(get_args(SetName)):
        raise ValueError("it names a set of facts that there is not")
    if set(REPEATED) <= held:
        _check_repeated(table)


def _length(column: pa.ChunkedArray) -> int:
    """Bytes of a column's texts, written out."""
    if not pa.types.is_dictionary(column.type):
        return 0
    total = 0
    for chunk in column.chunks:
        lengths = pc.fill_null(pc.binary_length(chunk.dictionary), 0)
        total += pc.sum(pc.take(lengths, chunk.indices)).as_py() or 0
    return int(total)


def _check_repeated(table: pa.Table) -> None:
    place = np.zeros(table.num_rows, dtype=np.int64)
    for name in REPEATED:
        names, codes = coded(table[name])
        if len(set(names)) < len(names):
            raise ValueError(f"its column {name} has a dictionary that repeats itself")
        place = place * max(len(names), 1) + codes
    if len(np.unique(place)) < table.num_rows:
        raise ValueError("it has a fact twice under one metric")
