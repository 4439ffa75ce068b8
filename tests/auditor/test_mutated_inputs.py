"""Valid inputs, changed at random: every parser answers with the errors that it documents.

Each night draws many more (`--hypothesis-profile fuzzing`).
"""

import contextlib
import json
import struct

import hostile_inputs as hostile
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import written_logs
from hand_made_certificates import honest_certificate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile_inputs import (
    CONFIG,
    EVENT,
    FACT,
    PLAN,
    POLICY,
    ROWS,
    as_json,
    as_yaml,
    facts_in,
    quiet,
)

from auditor.core.facts import Fact, FactSets
from auditor.core.reading import parse_json
from auditor.core.reading_yaml import parse_yaml
from auditor.data.logs.layouts import LAYOUTS
from auditor.data.logs.log import Tasks
from auditor.engine.plan import load_plan
from auditor.models.checkpoint_files import quantization_method, read_json, shards
from auditor.models.gguf_header import read_header
from auditor.models.manifest import Manifest
from auditor.models.provenance import read_provenance
from auditor.policy import load_policy
from auditor.signing.envelope import open_envelope, sign
from auditor.signing.keys import KINDS, generate, load_public_key, load_signer
from auditor.signing.reading import read
from auditor.store.columns import SCHEMA, plain
from auditor.store.ledger import read_events
from auditor.store.rows_file import parse_rows

many = settings(deadline=None, suppress_health_check=list(HealthCheck))
texts = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def changed_document(draw, document):
    """A document in which a value somewhere is another, is gone, or has one beside it."""
    document = json.loads(json.dumps(document))
    here, steps = document, draw(st.integers(0, 5))
    for _ in range(steps):
        inner = list(here.values()) if isinstance(here, dict) else here
        deeper = [part for part in inner if isinstance(part, dict | list) and part]
        if not deeper:
            break
        here = draw(st.sampled_from(deeper))
    places = list(here) if isinstance(here, dict) else range(len(here))
    place = draw(st.sampled_from(places))
    how = draw(st.sampled_from(("other", "gone", "beside")))
    if how == "other":
        here[place] = draw(values)
    elif how == "gone":
        del here[place]
    elif isinstance(here, dict):
        here[draw(texts)] = draw(values)
    else:
        here.append(draw(values))
    return document


@st.composite
def changed_bytes(draw, content):
    """Bytes of which a piece is turned, cut out, repeated or replaced."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = min(start + draw(st.integers(1, 40)), len(content))
        piece = bytes(content[start:end])
        other = st.sampled_from([b"", piece * 2, piece[::-1], b"[" * 50, b"9" * 400, b"NaN"])
        content[start:end] = draw(st.binary(max_size=8) | other)
    return bytes(content)


def changed(document, dump):
    """Changes of a document's values, and of the bytes that it is written in."""
    whole = changed_document(document).map(dump)
    return whole | changed_bytes(dump(document))


def read_model(path):
    for reader in (read_json, shards):
        quiet(reader)(path)
    quantization_method(path.parent)


BUILT = {
    "built_by": "auditor 1",
    "base": {"name": "base", "files": "a", "weights": "b"},
    "retain": {"facts": 3, "digest": "c"},
    "recipe": {
        "epochs": 5,
        "learning_rate": 1e-5,
        "batch_size": 32,
        "lora": {"rank": 4, "alpha": 8},
    },
    "steps": 20,
    "loss": 0.5,
    "code": "d",
    "versions": {"torch": "2"},
    "device": "cpu",
    "weights": "e",
}
LOGS = written_logs.documents()
WHOLE_GGUF = hostile.gguf_file(
    {
        "general.alignment": (4, struct.pack("<I", 32)),
        "llama.block_count": (4, struct.pack("<I", 2)),
        "tokenizer.ggml.tokens": hostile.gguf_list(
            8, 2, hostile.gguf_text(b"one")[1] + hostile.gguf_text(b"two")[1]
        ),
        "tokenizer.ggml.scores": hostile.gguf_list(6, 2, b"\0" * 8),
    },
    {"a": ((8,), 0, 0), "b": ((32, 2), 8, 32)},
    data=b"\0" * 128,
)


def log_in(layout):
    """Read a log whose one file lies at a path."""
    name = {"muse": "forget-knowmem", "rwku": "forget.json"}.get(layout)
    return lambda path: LAYOUTS[layout].read({name or path.name: path}, Tasks())


FILES = {
    "plan.yaml": (load_plan, changed(PLAN, as_yaml)),
    "policy.yaml": (lambda p: load_policy(str(p)), changed(POLICY, as_yaml)),
    "baseline.json": (lambda p: read_provenance(p.parent), changed(BUILT, as_json)),
    "certificate.json": (read, changed(honest_certificate().document, as_json)),
    "facts.jsonl": (facts_in, changed(FACT, as_json)),
    "facts.json": (facts_in, changed([FACT], as_json)),
    "facts.csv": (facts_in, changed_bytes(b'id,prompt,answer,distractors\n1,p,a,"[""x""]"\n')),
    **{
        f"{layout}.json": (log_in(layout), changed(document, as_json))
        for layout, document in LOGS.items()
    },
    "model.gguf": (read_header, changed_bytes(WHOLE_GGUF)),
    "config.json": (read_model, changed(CONFIG | {"weight_map": {"a": "b"}}, as_json)),
}


@pytest.mark.parametrize("name", FILES)
@many
@given(data=st.data())
def test_files(name, data, tmp_path):
    reader, contents = FILES[name]
    path = tmp_path / name
    path.write_bytes(data.draw(contents))
    error = quiet(reader)(path)
    assert error is None or error.exit_code in (2, 10, 11)


@pytest.fixture(scope="module")
def envelope(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    generate(folder / "key.pem", folder / "key.pub", KINDS["ed25519"])
    content = sign(honest_certificate(), [load_signer(folder / "key.pem")])
    return content, load_public_key(folder / "key.pub")


@many
@given(data=st.data())
def test_envelopes(data, envelope):
    content, key = envelope
    other = data.draw(changed(json.loads(content), as_json))
    error = quiet(lambda c: open_envelope(c, [key]))(other)
    assert other == content or error.exit_code in (10, 11, 12, 13)


@many
@given(changed(EVENT, as_json))
def test_ledgers(content):
    quiet(lambda c: read_events("x", c))(content)


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
@many
@given(data=st.data())
def test_parsers_raise_one_error(parse, data):
    text = data.draw(changed(PLAN, as_json).map(lambda c: c.decode("utf-8", "replace")) | texts)
    with contextlib.suppress(ValueError):
        parse(text)


@many
@given(values)
def test_what_json_says_is_read(value):
    """All that the rule leaves is read as it was written."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return
    assert parse_json(text) == value
    assert parse_json(f"{text}".encode()) == value


@many
@given(data=st.data())
def test_rows(data):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS, SCHEMA), sink)
    try:
        table = parse_rows(data.draw(changed_bytes(sink.getvalue().to_pybytes())))
    except ValueError:
        return
    assert all(0 <= row["k"] <= 1 for row in plain(table).to_pylist())


@many
@given(values | changed_document({"files": {"a": "b"}}))
def test_manifests_and_facts(value):
    sets = FactSets(forget=(Fact(**FACT),)).model_dump(mode="json")
    for model, content in ((Manifest, value), (FactSets, value), (FactSets, sets | {"zz": value})):
        with contextlib.suppress(ValueError):
            model.model_validate(content)
