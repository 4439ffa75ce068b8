"""Inputs that were written to break the reader: a sentence and its exit code, never a traceback."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import hostile_inputs as hostile
import pyarrow as pa
import pytest
import yaml
from hand_made_certificates import honest_certificate

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import canonical_json, digest_file
from auditor.core.records import Cost, Record, Row
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.engine.plan import load_plan
from auditor.models.checkpoint_files import quantization_method, read_json, shards
from auditor.models.gguf_header import read_header
from auditor.policy import load_policy
from auditor.signing.envelope import open_envelope, sign
from auditor.signing.keys import KINDS, generate, load_public_key, load_signer
from auditor.signing.reading import read
from auditor.store.columns import SCHEMA
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore
from auditor.store.history import History, PastAudit
from auditor.store.ledger import read_events

FACT = {
    "id": "1",
    "entity": "e",
    "prompt": "p",
    "answer": "a",
    "paraphrases": [],
    "distractors": [],
}
PLAN = {
    "unlearned": {"path": "org/u"},
    "original": "org/o",
    "retrained": ["org/r"],
    "data": {"forget": {"path": "f.jsonl"}, "retain": "r.jsonl"},
    "format": {"template": "{prompt}", "separator": " "},
    "metrics": {"primary": "answer-probability", "reported": []},
    "profile": None,
    "attacks": [{"attack": "tampering/noise", "parameters": {}}],
    "seeds": [0],
    "policy": {"delta": 0.1, "mandatory": ["none/as-is"], "waivers": [], "budgets": {}},
    "controls": False,
    "token_budget": 10,
}
POLICY = {
    "delta": 0.1,
    "alpha": 0.05,
    "mandatory": ["none/as-is"],
    "waivers": [],
    "scope": "census",
}
CONFIG = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "gptq"}}
ROWS = [
    {"set": "forget", "fact": f"f{i}", "entity": "e", "metric": "m", "k": 0.5, "answer": "said"}
    for i in range(3)
]
RECORD = Record(
    tuple(Row(**row) for row in ROWS), {"effect": 1}, {"a": pa.array([1.0]).to_numpy().copy()}
)
EVENT = {
    "event": "begun",
    "policy": "p",
    "name": "n",
    "unlearned": "u",
    "at": "t",
    "jobs": {"a": {"b": ["c"]}},
}
PAST = {"plan": "p", "policy": "q", "facts": "f", "seeds": [0], "at": "t"}
COST = {"seconds": 1.0, "forward_tokens": 1}


STEPS = [step / 1000 for step in range(1, 101)]


def as_json(content):
    return json.dumps(content).encode()


def as_yaml(content):
    return yaml.safe_dump(content).encode()


def quiet(reader):
    """A reader that raises nothing but the errors that are documented."""

    def read_quietly(path):
        try:
            reader(path)
        except AuditorError as error:
            return error
        return None

    return read_quietly


def jobs(tmp_path, name, contents):
    """Fresh stores with a job of which one file is as given, under seals that fit."""
    first, written = FolderStore(tmp_path / "first"), "0" * 64
    identity = {"attack": "x", "parameters": {}, "seed": 0}
    first.write(written, identity, RECORD, Cost(1, 1), Environment(device="cpu", packages={}))
    store = FolderStore(tmp_path / "store")
    for number, (what, content) in enumerate(contents):
        key = f"{number:064d}"
        if name == "job.json":
            key = hashlib.sha256(content).hexdigest()
        folder = store.root / "jobs" / key[:2] / key
        shutil.copytree(first.root / "jobs" / written[:2] / written, folder)
        (folder / name).write_bytes(content)
        if name not in ("seal.json", "cost.json"):
            seal = {file.name: digest_file(file) for file in folder.iterdir()}
            seal = {n: d for n, d in seal.items() if n not in ("seal.json", "cost.json")}
            (folder / "seal.json").write_bytes(canonical_json(seal))
        yield what, store, key


def read_job(store, key):
    identity = store.root / "jobs" / key[:2] / key / "job.json"
    if not key.startswith("0" * 30) and identity.is_file():
        store.identity(key)
    for ask in (store.claimed_seal, store.seal, store.rows, store.notes, store.arrays,
                store.environment, store.cost, store.read):  # fmt: skip
        ask(key)


def in_files(tmp_path, contents, name):
    for number, (what, content) in enumerate(contents):
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(content)
        yield what, path


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signed")
    generate(folder / "key.pem", folder / "key.pub", KINDS["ed25519"])
    signer = load_signer(folder / "key.pem")
    return sign(honest_certificate(), [signer]), load_public_key(folder / "key.pub")


def certificate_inputs():
    document = honest_certificate().document
    whole = as_json(document)
    for name in ("verdict", "policy", "schema_version", "certificate_id"):
        part = f'"{name}": '.encode()
        yield f"{name} twice", whole.replace(part, part + b"null, " + part, 1)
    yield from hostile.broken_json(as_json(document))
    yield from hostile.wrong_types(document, as_json)


def test_certificates(tmp_path):
    refused = 0
    for what, path in in_files(tmp_path, certificate_inputs(), "c.json"):
        refused += quiet(read)(path) is not None or pytest.fail(what)
    assert refused >= 100


def envelope_inputs(envelope):
    yield from hostile.broken_json(envelope)
    yield from hostile.wrong_types(json.loads(envelope), as_json)


def test_envelopes(signed):
    envelope, key = signed
    for what, content in envelope_inputs(envelope):
        error = quiet(lambda c: open_envelope(c, [key]))(content)
        assert error is not None, what
        assert error.exit_code in (10, 11, 12, 13), what


def test_plans(tmp_path):
    for what, path in in_files(tmp_path, hostile.broken_yaml(as_yaml(PLAN)), "plan.yaml"):
        assert quiet(load_plan)(path) is not None, what
    for what, path in in_files(tmp_path, hostile.wrong_types(PLAN, as_yaml), "plan.yaml"):
        error = quiet(load_plan)(path)
        assert error is None or error.exit_code == 2, what


def test_lists_that_multiply_in_a_plan(tmp_path):
    levels = {"checkpoints": [list(range(1, 9))], "rank": list(range(1, 3001))}
    request = {"attack": "relearning/held-out-facts", "parameters": levels}
    many = {name: list(range(1, 60)) for name in ("rank", "batch_size", "learning_rate", "seed")}
    for changes in (
        {"attacks": [request]},
        {"attacks": [{"attack": "relearning/held-out-facts", "parameters": many}]},
        {"attacks": PLAN["attacks"] * 3000},
        {"attacks": [{"attack": "tampering/noise", "parameters": {"relative_std": STEPS}}] * 10},
        {"seeds": list(range(3000))},
        {"retrained": ["org/r"] * 3000},
    ):
        path = tmp_path / "plan.yaml"
        path.write_bytes(as_yaml(PLAN | changes))
        began = time.monotonic()
        assert quiet(load_plan)(path).exit_code == 2
        assert time.monotonic() - began < 10


def test_policies(tmp_path):
    inputs = [*hostile.broken_yaml(as_yaml(POLICY)), *hostile.wrong_types(POLICY, as_yaml)]
    for what, path in in_files(tmp_path, inputs, "policy.yaml"):
        error = quiet(lambda p: load_policy(str(p)))(path)
        assert error is None or error.exit_code == 2, what


def test_gguf_files(tmp_path):
    """Refused by their headers, before a library that believes them."""
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(hostile.gguf_file())
    assert read_header(whole).tensors["a"].shape == (8,)
    for what, path in in_files(tmp_path, hostile.broken_gguf(), "m.gguf"):
        began = time.monotonic()
        error = quiet(read_header)(path)
        assert error is not None, what
        assert error.exit_code == 2, what
        assert time.monotonic() - began < 5, what
    os.mkfifo(tmp_path / "pipe.gguf")
    assert quiet(read_header)(tmp_path / "pipe.gguf").exit_code == 2


def facts_in(path):
    return read_facts(DataSource(path=str(path)), "forget")


FACT_FILES = {
    "f.jsonl": lambda: hostile.broken_lines(FACT),
    "f.json": lambda: hostile.broken_json(as_json([FACT])),
    "f.csv": hostile.broken_csv,
    "f.parquet": lambda: hostile.broken_parquet(hostile.parquet(pa.Table.from_pylist([FACT] * 9))),
}


@pytest.mark.parametrize("name", FACT_FILES)
def test_facts(name, tmp_path):
    for what, path in in_files(tmp_path, FACT_FILES[name](), name):
        began = time.monotonic()
        error = quiet(facts_in)(path)
        assert error is None or error.exit_code == 2, what
        assert time.monotonic() - began < 20, what


def test_facts_that_unfold(tmp_path):
    """A file of some kilobytes that stands for 100 GB of text."""
    bomb = hostile.repeated_text(SCHEMA, 1_000_000, 100_000).select(["fact", "answer"])
    path = tmp_path / "f.parquet"
    path.write_bytes(hostile.parquet(bomb.rename_columns(["prompt", "answer"])))
    assert path.stat().st_size < 2**20
    assert "unfold" in str(quiet(facts_in)(path))


def row_files():
    good = pa.Table.from_pylist(ROWS, SCHEMA)
    for what, table in hostile.row_tables(ROWS, SCHEMA):
        yield what, hostile.parquet(table)
    yield from hostile.broken_parquet(hostile.parquet(good))
    yield "a long text in every row", hostile.parquet(hostile.repeated_text(SCHEMA, 10**6, 10**5))
    yield "compressed another way", hostile.parquet(good, compression="zstd")
    yield "ten million rows", hostile.parquet(hostile.repeated_text(SCHEMA, 10**7, 1))


JOB_FILES = {
    "rows.parquet": row_files,
    "arrays.safetensors": hostile.broken_arrays,
    **{
        name: lambda valid=valid: hostile.broken_json(as_json(valid))
        for name, valid in {
            "notes.json": {"a": 1},
            "job.json": {"attack": "x"},
            "environment.json": {"device": "cpu", "packages": {}},
            "seal.json": {"a": "b"},
            "cost.json": COST,
        }.items()
    },
}
HARMLESS = {
    "notes.json": {"half a surrogate", "half a surrogate as key"},
    "job.json": {"half a surrogate", "half a surrogate as key"},
}
"""Names of what may stand in a file: it is JSON, and says no more than another text."""


@pytest.mark.parametrize("name", JOB_FILES)
def test_evidence(name, tmp_path):
    for what, store, key in jobs(tmp_path, name, JOB_FILES[name]()):
        began = time.monotonic()
        error = quiet(lambda k, s=store: read_job(s, k))(key)
        harmless = what in HARMLESS.get(name, ()) or what.startswith("byte ")
        assert error is not None or harmless, what
        assert error is None or error.exit_code == 15, what
        assert time.monotonic() - began < 20, what


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("job.json", {"attack": [], "subject": "former"}),
        ("job.json", {"attack": "x", "parameters": 5, "probes": []}),
        ("environment.json", {"device": 5, "packages": []}),
        ("cost.json", {"seconds": "x"}),
        ("cost.json", [1]),
        ("seal.json", {"job.json": 1, "notes.json": 2, "rows.parquet": 3}),
        ("seal.json", {"job.json": "", "notes.json": "", "rows.parquet": "", "../../x": ""}),
    ],
)
def test_evidence_of_other_types(name, content, tmp_path):
    ((_, store, key),) = jobs(tmp_path, name, [("", as_json(content))])
    error = quiet(lambda k: read_job(store, k))(key)
    assert error.exit_code == 15
    assert "to measure this job again" in str(error)


def test_facts_of_a_store(tmp_path):
    store = FolderStore(tmp_path)
    document = FactSets(forget=(Fact(**FACT),)).model_dump(mode="json")
    for what, content in [
        *hostile.broken_json(as_json(document)),
        *hostile.wrong_types(document, as_json),
    ]:
        key = hashlib.sha256(content).hexdigest()
        (tmp_path / "inputs" / f"{key}.json").write_bytes(content)
        error = quiet(store.facts)(key)
        assert error is None or error.exit_code == 15, what


def test_ledgers_and_histories(tmp_path):
    for what, content in hostile.broken_json(as_json(EVENT)):
        assert quiet(lambda c: read_events("x", c))(content) is not None, what
    for _, content in hostile.wrong_types(EVENT, as_json):
        quiet(lambda c: read_events("x", c))(content)
    history = History(FolderStore(tmp_path), "m")
    history.note(PastAudit(**PAST))
    (file,) = tmp_path.glob("audits/*/*.json")
    for what, content in hostile.broken_json(as_json(PAST)):
        file.write_bytes(content)
        assert quiet(history.before)(PastAudit(**PAST)) is not None, what


CONFIGURATIONS = [
    *hostile.broken_json(as_json(CONFIG)),
    *hostile.wrong_types(CONFIG, as_json),
    *hostile.wrong_types({"weight_map": {"a": "b"}}, as_json),
]


@pytest.mark.parametrize("reader", [read_json, shards])
def test_configurations(reader, tmp_path):
    for what, path in in_files(tmp_path, CONFIGURATIONS, "config.json"):
        error = quiet(reader)(path)
        assert error is None or error.exit_code == 2, what


def test_how_a_model_says_that_it_is_quantized(tmp_path):
    for what, content in CONFIGURATIONS:
        (tmp_path / "config.json").write_bytes(content)
        assert quiet(quantization_method)(tmp_path) is None or what


READERS = {
    "certificate": read,
    "plan": load_plan,
    "policy": lambda path: load_policy(str(path)),
    "facts.jsonl": facts_in,
    "facts.csv": facts_in,
    "facts.parquet": facts_in,
    "configuration": read_json,
}


@pytest.mark.parametrize("kind", READERS)
def test_only_regular_files_are_opened(kind, tmp_path):
    """A pipe would be waited for, and a device read, without end."""
    path = tmp_path / f"x{Path(kind).suffix or '.yaml'}"
    for make in (os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero")):
        make(path)
        error = quiet(READERS[kind])(path)
        assert "no regular file" in str(error)
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("name", [*JOB_FILES, "more"])
def test_pipes_and_devices_in_evidence(name, tmp_path):
    ((_, store, key),) = jobs(tmp_path, "notes.json", [("", b"{}")])
    path = store.root / "jobs" / key[:2] / key / name
    for make in (os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero")):
        path.unlink(missing_ok=True)
        make(path)
        assert quiet(lambda k: read_job(store, k))(key).exit_code == 15
        path.rmdir() if path.is_dir() else path.unlink()
