"""Inputs written to break whoever reads them, made by code, by the reader that they are for.

Each is a name and what the file holds. Nothing here depends on how anything is read.
"""

import io
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Hostile = Iterator[tuple[str, bytes]]

DIGITS = "1" + "0" * 100_000
LEVELS = 100_000

WRONG_VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "negative": -1,
    "huge": 10**300,
    "fraction": 0.5,
    "text": "x",
    "empty text": "",
    "list": [],
    "list of lists": [[["x"]]],
    "object": {},
    "object of all": {"": None, "a": [1], "b": {"c": {}}},
}
"""Values of every type, of which most are wrong wherever they stand."""


def broken_json(valid: bytes = b"{}") -> Hostile:
    """JSON that is none, or that no reader should take; some hold a valid document."""
    text = valid.decode()
    yield from {
        "empty": b"",
        "zero": b"\0",
        "no JSON": b"not json",
        "half": valid[: len(valid) // 2],
        "UTF-16": text.encode("utf-16"),
        "no UTF-8": b'{"a": "\xff\xfe"}',
        "nested lists": b"[" * LEVELS,
        "nested objects": b'{"a":' * LEVELS,
        "nested and closed": b"[" * 5_000 + b"]" * 5_000,
        "nested a little too deep": b'{"x":' + b"[" * 150 + b"]" * 150 + b"}",
        "number without end": f'{{"a": {DIGITS}}}'.encode(),
        "number of 4,000 digits": f'{{"a": {DIGITS[:4000]}}}'.encode(),
        "NaN": b'{"a": NaN}',
        "infinity": b'{"a": -Infinity}',
        "1e999": b'{"a": 1e999}',
        "key twice": b'{"a": 1, "a": 2}',
        "key twice within": b'{"x": [{"a": 1, "a": 2}]}',
        "valid and key twice": text[:-1].encode() + b', "zz": 1, "zz": 2}',
        "null alone": b"null",
        "number alone": b"5",
        "text alone": b'"x"',
        "list alone": b"[1, 2]",
        "half a surrogate": b'{"a": "\\ud800"}',
        "half a surrogate as key": b'{"\\ud800": 1}',
        "two million lists": b"[" + b"[]," * 2_000_000 + b"[]]",
    }.items()


def broken_yaml(valid: bytes = b"") -> Hostile:
    """YAML that is none, or that no reader should take."""
    bomb = b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)
    )
    yield from {
        "empty": b"",
        "zero": b"\0",
        "no UTF-8": b"a: \xff",
        "text alone": b"x",
        "list alone": b"[1]",
        "nested lists": b"[" * LEVELS,
        "nested mappings": b"{a: " * LEVELS,
        "nested by dashes": b"- " * LEVELS,
        "alias bomb": b"a0: &a0 [x, x, x]\n" + bomb,
        "alias of itself": b"a: &a [*a]",
        "alias of itself in a key": b"a: &a {? *a : 1}",
        "number without end": b"a: " + DIGITS.encode(),
        "number of 4,000 digits": b"seeds: [" + DIGITS[:4000].encode() + b"]",
        "hexadecimal without end": b"a: 0x" + b"f" * 5_000,
        "sexagesimal without end": b"a: 1" + b":59" * 2_000,
        "NaN": b"policy: {delta: .nan}",
        "infinity": b"policy: {delta: .inf}",
        "no such day": b"a: 2026-13-45",
        "list as key": b"? [a, b]\n: 1",
        "number as key": b"1: 2",
        "null as key": b"~: 2",
        "Python object": b"!!python/object/apply:os.system ['true']",
        "no base64": b"a: !!binary \xc3\xa9",
        "bytes": b"unlearned: !!binary aGVsbG8=",
        "set": b"!!set {a, b}",
        "pairs": b"!!omap [a: 1, a: 2]",
        "merge of a number": b"<<: 5",
        "key twice": valid + b"\nzz: 1\nzz: 2\n",
        "policy twice": valid + b"\npolicy: {delta: 0.9}\npolicy: {delta: 0.1}\n",
        "delta twice": b"policy: {delta: 0.9, delta: 0.1}",
        "two documents": b"a: 1\n---\nb: 2",
        "tab": b"a:\n\t- b",
        "unknown tag": b"a: !x b",
        "many values": b"a: [" + b"1," * 100_000 + b"]",
        "5 MB": b"#" * 5_000_000,
    }.items()


def wrong_types(document: dict[str, Any], dump: Callable[[Any], bytes]) -> Hostile:
    """The document with each of its parts, two levels deep, of another type."""
    for place in _places(document):
        for number, (kind, value) in enumerate(WRONG_VALUES.items()):
            if (number + len("".join(place))) % 3 == 0:
                yield f"{'.'.join(place)} = {kind}", dump(_replaced(document, place, value))


def broken_lines(valid: dict[str, Any]) -> Hostile:
    """Facts in JSON Lines."""
    line = json.dumps(valid).encode()
    for name, content in broken_json(line):
        yield name, line + b"\n" + content + b"\n"
    for name, value in WRONG_VALUES.items():
        for field in ("id", "prompt", "paraphrases"):
            yield f"{field} = {name}", json.dumps(valid | {field: value}).encode()
    yield from {
        "a list in a text, nested": json.dumps(valid | {"distractors": "[" * LEVELS}).encode(),
        "a list in a text, of a number": json.dumps(
            valid | {"distractors": f"[{DIGITS}]"}
        ).encode(),
        "100,000 columns": json.dumps({f"c{i}": "x" for i in range(100_000)}).encode(),
        "an answer of 6 MB": json.dumps(valid | {"answer": "word " * 1_200_000}).encode(),
        "a line of 34 MB": b'{"prompt": "' + b"x" * 34_000_000 + b'"}',
        "20,000 different faults": b"\n".join(b'{"c%d": 1}' % i for i in range(20_000)),
    }.items()


def broken_csv() -> Hostile:
    """Facts as CSV."""
    wide = ",".join(f"c{i}" for i in range(100_000)).encode()
    yield from {
        "empty": b"",
        "zero": b"prompt,answer\n\0,x\n",
        "no UTF-8": b"prompt,answer\n\xff,x\n",
        "100,000 columns": wide + b"\n" + wide + b"\n",
        "the same column 100,000 times": b"a," * 100_000 + b"a\n",
        "an open quote": b'prompt,answer\n"' + b"x\n" * 100_000,
        "a cell of 34 MB": b"prompt,answer\n" + b"x" * 34_000_000 + b",y\n",
        "a list in a cell, nested": b'prompt,answer,distractors\np,a,"' + b"[" * LEVELS + b'"\n',
        "a number in a cell": f'prompt,answer,distractors\np,a,"[{DIGITS}]"\n'.encode(),
        "rows without end": b"prompt,answer\n" + b"x\n" * 200_000,
        "carriage returns": b"prompt,answer\r\rp,a\rq,b\r",
    }.items()


def parquet(table: pa.Table, **options: Any) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def broken_parquet(valid: bytes) -> Hostile:
    """Files that are no Parquet, or that unfold without end."""
    footer = struct.pack("<i", 2**31 - 1)
    yield from {
        "empty": b"",
        "marks alone": b"PAR1PAR1",
        "cut": valid[: len(valid) // 2],
        "without its footer": valid[:-20],
        "a footer of 2 GB": valid[:-8] + footer + b"PAR1",
        "zeros within": valid[:8] + b"\0" * 64 + valid[72:],
        "zeros in the footer": valid[:-80] + b"\0" * 60 + valid[-20:],
        "arrow": b"ARROW1\0\0" + valid,
    }.items()
    for place in range(len(valid) - 300, len(valid) - 8, 12):
        flipped = bytearray(valid)
        flipped[place] ^= 0xFF
        yield f"byte {place - len(valid)} turned", bytes(flipped)


def row_tables(rows: list[dict[str, Any]], schema: pa.Schema) -> Iterator[tuple[str, pa.Table]]:
    """Tables of rows that no audit writes."""
    good = pa.Table.from_pylist(rows, schema)
    loose = pa.schema([pa.field(f.name, f.type) for f in schema])

    def changed(**values: Any) -> pa.Table:
        return pa.Table.from_pylist([rows[0] | values, *rows[1:]], loose)

    def retyped(name: str, kind: pa.DataType, value: Any) -> pa.Table:
        place = good.column_names.index(name)
        return good.set_column(place, name, pa.array([value] * len(rows), kind))

    for value in ("nan", "inf", "-inf", "-0.1", "1.0001", "1e308"):
        yield f"K of {value}", changed(k=float(value))
    for name in ("set", "fact", "entity", "metric", "k"):
        yield f"{name} of null", changed(**{name: None})
        yield f"no column {name}", good.drop_columns([name])
        yield f"{name} as numbers", retyped(name, pa.int64(), 1)
        yield f"{name} as lists", retyped(name, pa.list_(pa.string()), ["x"])
    yield "K as text", retyped("k", pa.string(), "0.5")
    yield "K as float32", retyped("k", pa.float32(), 0.5)
    yield "K as decimals", retyped("k", pa.decimal128(5, 2), None)
    yield "answers as bytes", retyped("answer", pa.binary(), b"\xff")
    yield "a set that there is not", changed(set="secret")
    yield "a column too many", good.append_column("zz", pa.array([1] * len(rows)))
    yield "a column twice", good.append_column("k", good["k"])
    yield "a fact twice", pa.concat_tables([good, good.slice(0, 1)])
    yield "columns in another order", good.select(["k", "set"])
    yield "no columns", pa.table({})


def repeated_text(schema: pa.Schema, rows: int, length: int) -> pa.Table:
    """A table whose small file holds one long text, which stands in every row."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * length]))
    few = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["forget"]))
    columns = {"set": few, "fact": one, "entity": one, "metric": few}
    columns |= {"k": pa.array([0.5] * rows), "answer": one}
    columns |= {"picture": pa.nulls(rows, pa.binary()), "prompt": one}
    return pa.table({name: columns[name] for name in schema.names})


def broken_arrays() -> Hostile:
    """Safetensors files that lie."""

    def file(header: bytes, data: bytes = b"") -> bytes:
        return struct.pack("<Q", len(header)) + header + data

    def one(**said: Any) -> bytes:
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | said
        return file(json.dumps({"a": entry}).encode(), b"\0" * 8)

    yield from {
        "empty": b"",
        "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
        "a header that is no JSON": file(b"nonsense"),
        "a header that nests": file(b"[" * LEVELS),
        "a shape of 2^60": one(shape=[2**60]),
        "a negative shape": one(shape=[-2]),
        "a shape that overflows": one(shape=[2**62, 2**62]),
        "an unknown type": one(dtype="F7"),
        "a type that numpy lacks": one(dtype="F8_E4M3", shape=[8]),
        "offsets beyond the file": one(data_offsets=[0, 10**12]),
        "offsets backwards": one(data_offsets=[8, 0]),
        "another shape than its bytes": one(shape=[3]),
        "cut": one()[:-4],
    }.items()


def gguf_file(
    settings: dict[str, tuple[int, bytes]] | None = None,
    tensors: dict[str, tuple[tuple[int, ...], int, int]] | None = None,
    **said: Any,
) -> bytes:
    """A GGUF file, byte by byte.

    Args:
        settings: Type and bytes of each value by name; by default one names an architecture.
        tensors: Dimensions (the shortest step first), type and place of each; one by default.
        said: ``magic``, ``version``, ``count`` (of tensors), ``keys`` and ``data``, where they are
            to be others.
    """
    settings = {"general.architecture": gguf_text(b"llama")} | (settings or {})
    tensors = {"a": ((8,), 0, 0)} if tensors is None else tensors
    listed = b"".join(
        gguf_text(name.encode())[1]
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        + struct.pack("<IQ", kind, place)
        for name, (shape, kind, place) in tensors.items()
    )
    held = b"".join(
        gguf_text(name.encode())[1] + struct.pack("<I", kind) + value
        for name, (kind, value) in settings.items()
    )
    counts = said.get("count", len(tensors)), said.get("keys", len(settings))
    head = struct.pack("<4sIQQ", said.get("magic", b"GGUF"), said.get("version", 3), *counts)
    whole = head + held + listed
    return whole + b"\0" * (-len(whole) % 32) + said.get("data", b"\0" * 32)


def gguf_text(text: bytes, length: int | None = None) -> tuple[int, bytes]:
    """A text as a value, under its own length or another."""
    return 8, struct.pack("<Q", len(text) if length is None else length) + text


def gguf_list(kind: int, count: int, content: bytes = b"") -> tuple[int, bytes]:
    """A list as a value."""
    return 9, struct.pack("<IQ", kind, count) + content


def broken_gguf() -> Hostile:
    """GGUF files that lie, or that ask for more than any model holds."""
    huge = 2**63
    named = gguf_text(b"general.architecture")[1] + struct.pack("<I", 8) + gguf_text(b"llama")[1]
    yield from {
        "empty": b"",
        "zero": b"\0" * 64,
        "the mark alone": b"GGUF",
        "another mark": gguf_file(magic=b"GGML"),
        "of version 1": gguf_file(version=1),
        "of the other byte order": gguf_file(version=3 << 24),
        "cut within its header": gguf_file()[:60],
        "cut within its tensors": gguf_file()[:-4],
        "2^63 settings": gguf_file(keys=huge),
        "more settings than there are": gguf_file(keys=9),
        "2^63 tensors": gguf_file(count=huge),
        "more tensors than there are": gguf_file(count=90),
        "no architecture": gguf_file({"general.architecture": (4, b"\0" * 4)}),
        "an architecture that is a path": gguf_file(
            {"general.architecture": gguf_text(b"../../x")}
        ),
        "a setting twice": gguf_file(keys=2).replace(named, named * 2),
        "a text of 2^63 bytes": gguf_file({"x": gguf_text(b"x", huge)}),
        "a text of 2^64 - 1 bytes": gguf_file({"x": gguf_text(b"x", 2**64 - 1)}),
        "a text that is no UTF-8": gguf_file({"x": gguf_text(b"\xff\xfe")}),
        "a value of no type": gguf_file({"x": (77, b"\0" * 8)}),
        "a list of 2^63 texts": gguf_file({"x": gguf_list(8, huge)}),
        "a list of 2^63 bytes": gguf_file({"x": gguf_list(0, huge)}),
        "three million bytes, each a number": gguf_file(
            {"x": gguf_list(0, 3_000_000, b"\0" * 3_000_000)}
        ),
        "a list of lists": gguf_file({"x": gguf_list(9, 1, gguf_list(0, 1, b"\0")[1])}),
        "a token of a megabyte": gguf_file({"x": gguf_list(8, 1, gguf_text(b"x" * 2**20)[1])}),
        "an alignment of 0": gguf_file({"general.alignment": (4, struct.pack("<I", 0))}),
        "an alignment of 3": gguf_file({"general.alignment": (4, struct.pack("<I", 3))}),
        "an alignment of 2^31": gguf_file({"general.alignment": (4, struct.pack("<I", 2**31))}),
        "an alignment in words": gguf_file({"general.alignment": gguf_text(b"32")}),
        "an alignment of many": gguf_file(
            {"general.alignment": gguf_list(4, 1, struct.pack("<I", 32))}
        ),
        "2^31 dimensions": gguf_file().replace(b"a\x01\0\0\0\x08", b"a\0\0\0\x80\x08"),
        "no dimension": gguf_file(tensors={"a": ((), 0, 0)}),
        "a dimension of 0": gguf_file(tensors={"a": ((0,), 0, 0)}),
        "a shape of 2^62": gguf_file(tensors={"a": ((2**62,), 0, 0)}),
        "a shape that overflows": gguf_file(tensors={"a": ((2**40, 2**40), 0, 0)}),
        "a type that there is not": gguf_file(tensors={"a": ((8,), 999, 0)}),
        "rows that fill no block": gguf_file(tensors={"a": ((8,), 12, 0)}),
        "beyond the file": gguf_file(tensors={"a": ((8,), 0, 2**40)}),
        "between the places of tensors": gguf_file(tensors={"a": ((4,), 0, 4)}),
        "two in one place": gguf_file(tensors={"a": ((8,), 0, 0), "b": ((8,), 0, 0)}),
        "one within another": gguf_file(
            tensors={"a": ((16,), 0, 0), "b": ((8,), 0, 32)}, data=b"\0" * 64
        ),
    }.items()


def _places(document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in document.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, inner) for inner in value)


def _replaced(document: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = place
    return document | {first: _replaced(document[first], tuple(rest), value) if rest else value}
