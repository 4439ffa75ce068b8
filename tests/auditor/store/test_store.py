"""Evidence that is whole or not there, whoever writes it and whatever kills the writer."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import digest, digest_file
from auditor.core.records import Cost, Record, Row
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore

IDENTITY = {"attack": "x"}
KEY = digest(IDENTITY)
COST = Cost(seconds=1.5, forward_tokens=7)
HERE = Environment(device="cpu", packages={"torch": "2.0"}, python="3.11.7")
ROWS = (
    Row("forget", "f1", "Ada", "answer-probability", 0.1 + 0.2, None),
    Row("retain", "r1", "Ünï", "rouge-l-recall", 1.0, "said\n\0 東京 <script>"),
    Row("forget", "f2", "Ada", "drawn", 0.5, None, b"\x89PNG\r\n\x1a\n\x00\xff"),
)
RECORD = Record(
    rows=ROWS,
    notes={"bits": 4, "list": [1, None, "x"]},
    arrays={"codes/a": np.arange(6, dtype=np.uint8), "size/a": np.array([6])},
)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def assert_equal(one, other):
    assert one.rows == other.rows
    assert one.notes == other.notes
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        np.testing.assert_array_equal(array, other.arrays[name])


@pytest.mark.parametrize(
    "record", [RECORD, Record(), Record(rows=ROWS), Record(notes={"a": 1})], ids=range(4)
)
def test_what_is_written_is_read(record, store):
    assert not store.has(KEY)
    store.write(KEY, IDENTITY, record, COST, HERE)
    assert store.has(KEY)
    assert_equal(store.read(KEY), record)
    assert store.cost(KEY) == COST


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
rows = st.lists(
    st.builds(Row, st.sampled_from(["forget", "retain", "holdout"]), texts, texts, texts,
              st.floats(0, 1), st.none() | texts, st.none() | st.binary()),
    max_size=5,
    unique_by=lambda row: (row.set, row.fact, row.metric),
).map(tuple)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | texts | st.floats(0, 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=rows,
    notes=st.dictionaries(texts, json_values, max_size=3),
    number=st.integers(0, 2**53 - 1),
)
def test_any_record_comes_back(rows, notes, number, store):
    identity = {"rows": repr(rows), "notes": notes, "number": number}
    key = digest(identity)
    if not store.has(key):
        store.write(key, identity, Record(rows, notes), COST, HERE)
    assert_equal(store.read(key), Record(rows, notes))


def test_arrays_that_are_views_come_back_in_order(store):
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    record = Record(arrays={"turned": square.T, "every other": square[:, ::2]})
    store.write(KEY, IDENTITY, record, COST, HERE)
    assert_equal(store.read(KEY), record)


def test_a_second_writer_leaves_the_first_ones_evidence(store):
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    store.write(KEY, IDENTITY, Record(), Cost(9, 9), HERE)
    assert_equal(store.read(KEY), RECORD)
    assert store.cost(KEY) == COST
    assert list((store.root / "jobs").glob(".*")) == []


def test_the_seal_covers_all_but_the_time(tmp_path):
    first, second = FolderStore(tmp_path / "1"), FolderStore(tmp_path / "2")
    first.write(KEY, IDENTITY, RECORD, COST, HERE)
    second.write(KEY, IDENTITY, RECORD, Cost(99.0, 7), HERE)
    assert first.seal(KEY) == second.seal(KEY)
    other = FolderStore(tmp_path / "3")
    changed = Record((ROWS[0]._replace(k=0.5), ROWS[1]), RECORD.notes, RECORD.arrays)
    other.write(KEY, IDENTITY, changed, COST, HERE)
    assert other.seal(KEY) != first.seal(KEY)


@pytest.mark.parametrize(
    "file",
    [
        *("rows.parquet", "notes.json", "arrays.safetensors", "job.json", "environment.json"),
        "seal.json",
    ],
)
@pytest.mark.parametrize("how", ["changed", "emptied", "gone"])
def test_tampering_is_found_out(file, how, store):
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    place = store.root / "jobs" / KEY[:2] / KEY / file
    content = bytearray(place.read_bytes())
    if how == "gone":
        place.unlink()
    else:
        content[len(content) // 2] ^= 1
        place.write_bytes(content if how == "changed" else b"")
    if file == "seal.json" and how == "gone":  # then it was never finished
        assert not store.has(KEY)
        return
    for ask in (store.read, store.seal):
        with pytest.raises(AuditorError, match="evidence was changed after it was measured"):
            ask(KEY)


def test_a_file_that_was_added_is_found_out(store):
    store.write(KEY, IDENTITY, Record(rows=ROWS), COST, HERE)
    key = digest({})
    store.write(key, {}, RECORD, COST, HERE)
    folder, other = (store.root / "jobs" / k[:2] / k for k in (KEY, key))
    (folder / "arrays.safetensors").write_bytes((other / "arrays.safetensors").read_bytes())
    with pytest.raises(AuditorError, match=r"evidence was changed.*arrays.safetensors"):
        store.read(KEY)


def test_a_seal_that_no_longer_names_a_file_is_found_out(store):
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    seal = store.root / "jobs" / KEY[:2] / KEY / "seal.json"
    content = json.loads(seal.read_bytes())
    del content["rows.parquet"]
    seal.write_text(json.dumps(content))
    with pytest.raises(AuditorError, match="evidence was changed"):
        store.read(KEY)


def test_the_whole_evidence_of_another_job_is_found_out(store):
    """Every file is as it was sealed, and the seal is whole: only the name is wrong."""
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    other = digest({})
    store.write(other, {}, Record(rows=ROWS), COST, HERE)
    folder, foreign = (store.root / "jobs" / k[:2] / k for k in (KEY, other))
    shutil.rmtree(folder)
    shutil.copytree(foreign, folder)
    for ask in (store.read, store.seal):
        with pytest.raises(
            AuditorError, match=r"evidence was changed.*job\.json \(it is of another"
        ):
            ask(KEY)


def test_facts_come_back_by_digest_and_tampering_is_found_out(store):
    sets = FactSets(forget=(Fact(id="1", entity="s", prompt="p?", answer="東京"),))
    key = store.put_facts(sets)
    assert key == store.put_facts(sets) == digest(sets.model_dump(mode="json"))
    assert store.facts(key) == sets
    file = store.root / "inputs" / f"{key}.json"
    file.write_text(file.read_text(encoding="utf-8").replace("p?", "q?"), encoding="utf-8")
    with pytest.raises(AuditorError, match="changed"):
        store.facts(key)


def test_a_failed_write_leaves_nothing(store):
    for bad in (Record(notes={"x": float("nan")}), Record(notes={"x": np.float32(1)})):
        with pytest.raises((ValueError, TypeError)):
            store.write(KEY, IDENTITY, bad, COST, HERE)
    assert not store.has(KEY)
    assert list((store.root / "jobs").iterdir()) == []


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import numpy as np
    from auditor.core.hashing import digest
    from auditor.core.records import Cost, Record, Row
    from auditor.store.environment import Environment
    from auditor.store.folder_store import FolderStore

    store = FolderStore(Path(sys.argv[1]))
    rows = tuple(Row("forget", f"f{i}", "s", "p", i / 2000, "x" * 50) for i in range(2000))
    record = Record(rows, {"n": 1}, {"codes": np.arange(1 << 20, dtype=np.uint32)})
    here = Environment(device="cpu", packages={})
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(int(sys.argv[2])):
        identity = {"i": i if sys.argv[3] == "many" else 0}
        store.write(digest(identity), identity, record, Cost(1, 1), here)
    """
)


def writer(root, count, keys):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(count), keys],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout.readline() == "ready\n"
    return process


def finished(root):
    return sorted(folder.name for folder in (root / "jobs").glob("??/*"))


def test_a_killed_writer_leaves_no_half_job(tmp_path):
    """SIGKILL in the midst of writing: every job that is there is whole, and the rest is swept."""
    killed_midway, done = 0, 0
    for attempt in range(4):
        root = tmp_path / str(attempt)
        process = writer(root, 10_000, "many")
        process.stdin.write("\n")
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while len(finished(root)) < 1 + attempt and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.003 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        partial = list((root / "jobs").glob(".*.partial"))
        killed_midway += bool(partial)
        store = FolderStore(root)
        for key in finished(root):
            assert store.has(key)
            assert len(store.read(key).rows) == 2000
            assert store.cost(key) == Cost(1, 1)
            done += 1
        for folder in partial:  # a day later they are gone
            os.utime(folder, (1, 1))
        FolderStore(root)
        assert list((root / "jobs").glob(".*.partial")) == []
        store.write(KEY, IDENTITY, RECORD, COST, HERE)  # and the store goes on
    assert done >= 4
    assert killed_midway >= 1


def test_two_processes_that_write_the_same_job(tmp_path):
    root = tmp_path / "store"
    processes = [writer(root, 20, "one") for _ in range(2)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.wait(timeout=60) == 0
    key = digest({"i": 0})
    assert finished(root) == [key]
    assert list((root / "jobs").glob(".*")) == []
    store = FolderStore(root)
    assert len(store.read(key).rows) == 2000


def test_threads_that_write_many_jobs(store):
    identities = [{"i": i} for i in range(30)] * 2
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda i: store.write(digest(i), i, RECORD, COST, HERE), identities))
    for identity in identities:
        assert_equal(store.read(digest(identity)), RECORD)


def test_only_old_leftovers_are_swept(store):
    jobs = store.root / "jobs"
    young, old = jobs / ".young.partial", jobs / ".old.partial"
    for folder in (young, old):
        folder.mkdir()
        (folder / "rows.parquet").write_bytes(b"half")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    FolderStore(store.root)
    assert young.exists()
    assert not old.exists()
    assert store.has(KEY)


def test_a_scratch_folder_goes_with_its_job(store):
    with pytest.raises(ZeroDivisionError), store.temporary_folder() as folder:  # noqa: PT012
        (folder / "merged").mkdir()
        (folder / "merged" / "x").write_text("y")
        raise ZeroDivisionError
    assert not folder.exists()


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditorError, match="cannot be written"):
        FolderStore(tmp_path / "file" / "store")


def test_failures_are_logged_for_whoever_mends_them(store):
    store.log_failure(KEY, "Traceback: boom")
    assert (store.root / "failures" / f"{KEY}.log").read_text() == "Traceback: boom"
    assert not store.has(KEY)


def test_the_seal_holds_the_sha256_of_each_file(store):
    store.write(KEY, IDENTITY, RECORD, COST, HERE)
    folder = store.root / "jobs" / KEY[:2] / KEY
    seal = json.loads((folder / "seal.json").read_bytes())
    assert seal == {
        p.name: digest_file(p) for p in folder.iterdir() if p.name not in ("seal.json", "cost.json")
    }
    assert store.seal(KEY) == digest(seal)


def test_notes_of_an_earlier_release_have_todays_names(store):
    notes = Record(notes={"probe": "answer-probability", "examples": 3})
    former = {"attack": "latent/linear-readout", "subject": "a", "probes": []}
    for identity, name in ((former, "metric"), ({"attack": "x", "model": "a"}, "probe")):
        key = digest(identity)
        store.write(key, identity, notes, COST, HERE)
        assert store.notes(key) == {name: "answer-probability", "examples": 3}
