"""What tampering and missing packages lead to where evidence lies in object storage."""

import json
import shutil
import sys
import uuid

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import fsspec
from test_store_contract import COST, HERE, IDENTITY, KEY, RECORD, SETS

from auditor.core.cache import CACHE_VARIABLE
from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.store.object_store import ObjectStore
from auditor.store.places import open_place

MEMORY = fsspec.filesystem("memory")


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return f"memory://tampered/{uuid.uuid4().hex}"


def objects(url, folder):
    return {path.rpartition("/")[2]: path for path in MEMORY.find(f"{url}/{folder}")}


@pytest.mark.parametrize(
    "file",
    [
        *("rows.parquet", "notes.json", "arrays.safetensors", "job.json", "environment.json"),
        "seal.json",
    ],
)
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_tampering_is_found_out(file, how, url):
    store = ObjectStore(url)
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    [path] = [at for name, at in objects(url, "jobs").items() if name.endswith(file)]
    if how == "gone":
        MEMORY.rm_file(path)
    else:
        content = bytearray(MEMORY.cat_file(path))
        content[len(content) // 2] ^= 1
        MEMORY.pipe_file(path, bytes(content))
    with pytest.raises(EvidenceChangedError):
        store.seal(KEY)
    with pytest.raises(EvidenceChangedError):
        store.read(KEY)


def test_what_a_writer_left_that_died_before_its_seal_is_no_evidence(url):
    store = ObjectStore(url)
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    MEMORY.rm_file(objects(url, "jobs")["seal.json"])
    assert not store.has(KEY)
    assert list(store.keys()) == []
    changed = RECORD.__class__(RECORD.rows[:1], RECORD.notes)
    store.write(KEY, IDENTITY, changed, COST, HERE)
    assert store.read(KEY).rows == RECORD.rows[:1], "files of the dead writer lie beside it"


def test_changed_facts_are_found_out(url):
    store = ObjectStore(url)
    key = store.put_facts(SETS)
    [path] = objects(url, "inputs").values()
    MEMORY.pipe_file(path, MEMORY.cat_file(path).replace(b"p?", b"q?"))
    with pytest.raises(EvidenceChangedError, match="were changed"):
        store.facts(key)


@pytest.mark.parametrize("how", ["changed", "elsewhere"])
def test_a_changed_artifact_is_not_taken(how, url, tmp_path):
    ObjectStore(url).artifact(KEY, lambda folder: (folder / "weights").write_bytes(b"w"))
    shutil.rmtree(tmp_path / "cache")  # as on another machine
    found = objects(url, "positive-controls")
    seal = found.pop("seal.json")
    if how == "changed":
        MEMORY.pipe_file(*found.values(), b"v")
    else:
        [held] = json.loads(MEMORY.cat_file(seal)).values()
        MEMORY.pipe_file(seal, json.dumps({"../../out": held}).encode())
    with pytest.raises(EvidenceChangedError, match="not what was written there"):
        ObjectStore(url).artifact(KEY, lambda folder: None)


@pytest.mark.parametrize("how", ["changed", "lost", "elsewhere", "no seal"])
def test_a_derived_model_that_the_storage_does_not_hold_whole_is_made_again(how, url, tmp_path):
    def make(folder):
        made.append(folder)
        (folder / "weights").write_bytes(b"w")

    made = []
    ObjectStore(url).derived(KEY, make)
    found = objects(url, "derived-models")
    seal = found.pop("seal.json")
    if how == "changed":
        MEMORY.pipe_file(*found.values(), b"v")
    elif how == "lost":
        MEMORY.rm_file(*found.values())
    elif how == "no seal":
        MEMORY.rm_file(seal)
    else:
        [held] = json.loads(MEMORY.cat_file(seal)).values()
        MEMORY.pipe_file(seal, json.dumps({"../../out": held}).encode())
    for _ in range(2):
        shutil.rmtree(tmp_path / "cache")  # as on another machine
        place = ObjectStore(url).derived(KEY, make)
        assert (place / "weights").read_bytes() == b"w"
        assert len(made) == 2, "the first of the two machines put it right for both"
    assert not list(tmp_path.rglob("out"))


def test_storage_that_nothing_reaches_names_the_extra(monkeypatch):
    with pytest.raises(AuditorError, match="object-storage"):
        open_place("nowhere://bucket/folder")
    monkeypatch.setitem(sys.modules, "auditor.store.object_store", None)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(AuditorError):
        open_place("memory://x")
