"""Evidence that keeps every digest and means nothing: exit 14 or 15, never a traceback."""

import json
import os
import shutil

import hostile_inputs as hostile
import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save

from auditor.certificate.files import read_certificate, write_certificate
from auditor.cli.main import run
from auditor.core.hashing import canonical_json, digest, digest_file
from auditor.store.columns import SCHEMA, plain
from auditor.store.folder_store import FolderStore
from auditor.store.rows_file import parse_rows
from benchmarks.large_audit import large_audit


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return large_audit(tmp_path_factory.mktemp("whole"), 40, 9).parent


def forge(whole, folder, name, content, row=0, arm="unlearned"):
    """A copy whose job holds other content, under seals, digests and an id that fit."""
    shutil.copytree(whole, folder)
    certificate = read_certificate(folder / "certificate.json")
    store = FolderStore(folder / "evidence", read_only=True)
    (key,) = certificate.matrix[row].jobs[arm]
    place = store.root / "jobs" / key[:2] / key
    (place / name).write_bytes(content(place / name))
    if name not in ("seal.json", "cost.json"):
        seal = json.loads((place / "seal.json").read_bytes())
        (place / "seal.json").write_bytes(canonical_json(seal | {name: digest_file(place / name)}))
        jobs = certificate.evidence.jobs | {key: store.claimed_seal(key)}
        listed = certificate.evidence.model_copy(update={"jobs": jobs, "digest": digest(jobs)})
        certificate = certificate.model_copy(update={"evidence": listed}).named()
        write_certificate(certificate, folder / "certificate.json")
    return folder / "certificate.json"


def rows(change):
    """The job's rows, changed."""

    def content(path):
        return hostile.parquet(change(plain(parse_rows(path.read_bytes())).to_pylist()))

    return content


def of_number(name):
    def content(path):
        ours = plain(parse_rows(path.read_bytes())).to_pylist()
        return hostile.parquet(dict(hostile.row_tables(ours, SCHEMA))[name])

    return content


def notes(**given):
    return lambda path: canonical_json(json.loads(path.read_bytes()) | given)


def said(text):
    return lambda path: text


REFUSED = (2, 14, 15)
"""Exit codes of what does not hold; 2 of an attack's parameters, which are no real ones here."""
KEPT = {"codes": np.arange(3, dtype=np.uint8)}
HOSTILE = {
    **{
        name: ("rows.parquet", of_number(name))
        for name in ("K of nan", "fact of null", "k as lists", "no column metric", "a fact twice")
    },
    "no rows": ("rows.parquet", rows(lambda r: pa.Table.from_pylist([], SCHEMA))),
    "one row": ("rows.parquet", rows(lambda r: pa.Table.from_pylist(r[:1], SCHEMA))),
    "rows that are no Parquet": ("rows.parquet", said(b"PAR1")),
    "notes that are a list": ("notes.json", said(b"[]")),
    "notes without end": ("notes.json", said(b"[" * 100_000)),
    "an effect that is a number": ("notes.json", notes(effect=5)),
    "an effect of lists": ("notes.json", notes(effect={"measure": [], "value": {}})),
    "an effect without a value": ("notes.json", notes(effect={"measure": "x"})),
    "no seal": ("seal.json", said(b"{}")),
    "an environment of lists": ("environment.json", said(b'{"device": [], "packages": 5}')),
    "arrays that nobody kept": ("arrays.safetensors", lambda path: save(KEPT)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused(name, whole, tmp_path, capsys):
    file, content = HOSTILE[name]
    row = 1 if file == "notes.json" else 0
    path = forge(whole, tmp_path / "copy", file, content, row)
    assert run(["verify", str(path), "--unsigned"]) in REFUSED
    code = run(["gate", str(path), "--unsigned", "--policy", "release-gate"])
    assert code in (3, 4, *REFUSED)
    assert "Traceback" not in capsys.readouterr().err


def test_pipes_are_not_waited_for(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "copy")
    for place in sorted((tmp_path / "copy").rglob("*.json"))[:8]:
        kept = place.read_bytes()
        place.unlink()
        os.mkfifo(place)
        path = tmp_path / "copy" / "certificate.json"
        assert run(["verify", str(path), "--unsigned"]) in (10, *REFUSED)
        assert "no regular file" in capsys.readouterr().err or place.name == "cost.json"
        place.unlink()
        place.write_bytes(kept)


def test_a_job_without_its_seal_is_measured_again(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    store = FolderStore(tmp_path / "copy" / "evidence")
    folder = next(store.root.glob("jobs/??/*"))
    key = folder.name
    record, identity, cost = store.read(key), store.identity(key), store.cost(key)
    environment = store.environment(key)
    (folder / "seal.json").unlink()
    (folder / "rows.parquet").write_bytes(b"half")
    assert not store.has(key)
    store.write(key, identity, record, cost, environment)
    assert store.read(key).rows == record.rows
