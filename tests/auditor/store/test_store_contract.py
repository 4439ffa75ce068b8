"""What every store holds to, wherever it keeps its evidence."""

import json
import pickle
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from auditor.core.cache import CACHE_VARIABLE
from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import digest
from auditor.core.records import Cost, Record, Row
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore
from auditor.store.places import open_place

IDENTITY = {"attack": "x", "seed": 1}
KEY = digest(IDENTITY)
COST = Cost(seconds=1.5, forward_tokens=7)
HERE = Environment(device="cpu", packages={"torch": "2.0"}, python="3.11.7")
RECORD = Record(
    rows=(
        Row("forget", "f1", "Ada", "answer-probability", 0.1 + 0.2, None),
        Row("retain", "r1", "Ünï", "rouge-l-recall", 1.0, "said\n\0 東京 <script>"),
    ),
    notes={"bits": 4, "list": [1, None, "x"]},
    arrays={"codes/a": np.arange(6, dtype=np.uint8)},
)
SETS = FactSets(forget=(Fact(id="1", entity="s", prompt="p?", answer="東京"),))


@pytest.fixture(scope="module")
def s3():
    """A server that speaks S3, and a bucket of it."""
    server = pytest.importorskip("moto.server", reason="moto and flask are not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="evidence")
        yield "s3://evidence"
    running.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request, tmp_path, monkeypatch):
    """Where a new store is made."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    if request.param == "folder":
        return tmp_path / "store"
    if request.param == "memory":
        pytest.importorskip("fsspec", reason="fsspec is not installed")
        return f"memory://evidence/{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}"


@pytest.fixture
def store(place):
    return open_place(place)


def test_what_is_written_is_read(store):
    assert not store.has(KEY)
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    assert store.has(KEY)
    read = store.read(KEY)
    assert (read.rows, read.notes) == (RECORD.rows, RECORD.notes)
    np.testing.assert_array_equal(read.arrays["codes/a"], RECORD.arrays["codes/a"])
    assert store.cost(KEY) == COST
    assert store.environment(KEY) == HERE
    assert store.identity(KEY) == IDENTITY


def test_seals_are_the_same_in_every_store(store, tmp_path):
    folder = FolderStore(tmp_path / "other")
    for each in (store, folder):
        each.write(KEY, IDENTITY, RECORD, COST, HERE)
    assert store.seal(KEY) == folder.seal(KEY) == store.claimed_seal(KEY)


def test_the_first_of_two_writers_wins(store):
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    sealed = store.seal(KEY)
    store.write(KEY, IDENTITY, Record(), Cost(9, 9), HERE)
    assert store.seal(KEY) == sealed
    assert store.read(KEY).rows == RECORD.rows
    assert store.cost(KEY) == COST


def test_the_keys_of_finished_jobs_are_listed(store):
    store.put_facts(SETS)
    assert list(store.keys()) == []
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    assert list(store.keys()) == [KEY]


def test_a_job_without_a_seal_is_not_there(store):
    with pytest.raises(EvidenceChangedError, match="is not in"):
        store.read(KEY)
    with pytest.raises(EvidenceChangedError, match="are not in"):
        store.facts(KEY)


def test_a_store_travels_to_other_processes(store):
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    again = pickle.loads(pickle.dumps(store))
    assert again.has(KEY)
    assert again.name == store.name


def test_facts_are_kept_by_digest(store):
    key = store.put_facts(SETS)
    assert key == store.put_facts(SETS)
    assert store.facts(key) == SETS


def test_events_are_read_in_the_order_of_their_writing(store):
    for number in range(3):
        store.append("log", json.dumps({"n": number}).encode())
    assert [json.loads(event)["n"] for _, event in store.events("log")] == [0, 1, 2]
    assert list(store.events("none")) == []


def test_an_artifact_is_made_once(store, place, tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(b"w" * 1000)
        (folder / "config").write_bytes(str(len(made)).encode())

    one = store.artifact(KEY, make)
    assert store.artifact(KEY, make) == one
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # as on another machine
    other = open_place(place).artifact(KEY, make)
    assert len(made) == 1
    assert (other / "deep" / "weights").read_bytes() == b"w" * 1000
    assert (other / "config").read_bytes() == b"1"


def test_an_artifact_that_fails_is_not_there(store):
    def fail(folder):
        (folder / "half").write_bytes(b"")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.artifact(KEY, fail)
    place = store.artifact(KEY, lambda folder: (folder / "whole").write_bytes(b""))
    assert [file.name for file in place.iterdir()] == ["whole"]


def weights(made):
    """A function that makes a copy, and counts how often it did."""

    def make(folder):
        made.append(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(b"w" * 1000)
        (folder / "config").write_bytes(b"c")

    return make


def test_a_derived_model_is_made_once(store, place, tmp_path):
    made = []
    one = store.derived(KEY, weights(made))
    assert store.derived(KEY, weights(made)) == one
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # as on another machine
    other = open_place(place).derived(KEY, weights(made))
    assert len(made) == 1
    assert (other / "deep" / "weights").read_bytes() == b"w" * 1000


@pytest.mark.parametrize("how", ["changed", "lost", "added", "unsealed", "spoiled"])
def test_a_derived_model_that_is_not_whole_is_had_again(how, store, place):
    made = []
    folder = store.derived(KEY, weights(made))
    if how == "changed":
        (folder / "deep" / "weights").write_bytes(b"v" + b"w" * 999)
    elif how == "lost":
        (folder / "config").unlink()
    elif how == "added":
        (folder / "adapter_config.json").write_bytes(b"{}")
    elif how == "unsealed":
        (folder / "seal.json").unlink()
    else:
        (folder / "seal.json").write_bytes(b"[")
    again = store.derived(KEY, weights(made))
    assert again == folder
    assert {file.name for file in again.rglob("*") if file.is_file()} == {
        *("weights", "config", "seal.json"),
    }
    assert (again / "deep" / "weights").read_bytes() == b"w" * 1000
    here = not isinstance(place, str)
    assert len(made) == (2 if here else 1), "a storage has it still"


def test_a_derived_model_that_fails_is_not_there(store):
    def fail(folder):
        (folder / "half").write_bytes(b"")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.derived(KEY, fail)
    made = []
    assert not (store.derived(KEY, weights(made)) / "half").exists()
    assert len(made) == 1


def test_scratch_files_go_with_their_job(store):
    with store.temporary_folder() as folder:
        (folder / "x").write_bytes(b"x")
    assert not folder.exists()


def test_the_redaction_key_is_made_once(store, place):
    key = store.redaction_key()
    assert len(key) == 32
    assert store.redaction_key() == key == open_place(place, read_only=True).redaction_key()


def test_a_store_that_is_not_there_is_not_read(place):
    with pytest.raises(AuditorError, match="is no evidence store"):
        open_place(place, read_only=True)


def test_of_many_processes_one_holds_a_claim(store):
    def work(number):
        with store.claim(KEY) as held:
            if held:
                barrier.append(number)
                while len(refused) < 3:
                    pass
            else:
                refused.append(number)
        return held

    barrier, refused = [], []
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [False, False, False, True]
    with store.claim(KEY) as held:
        assert held, "whoever is done lets go"
