"""Claims end with those who hold them, and with nothing else."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

from auditor.store import claims
from auditor.store.folder_store import FolderStore

KEY = "ab" + "0" * 62


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


HOLDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from auditor.store.folder_store import FolderStore

    with FolderStore(Path(sys.argv[1])).claim(sys.argv[2]) as held:
        print(held, flush=True)
        sys.stdin.readline()
    """
)


def test_a_dead_holder_loses_its_claim_at_once(store):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.root), KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "True\n"
    with store.claim(KEY) as held:
        assert not held
    process.kill()
    process.wait()
    with store.claim(KEY) as held:
        assert held
    assert list((store.root / "claims").iterdir()) == []


def foreign(store, age):
    """A claim of another machine that was last renewed so many seconds ago."""
    file = store.root / "claims" / f"{KEY}.0"
    file.write_text('{"machine": "elsewhere", "process": 1, "began": "1"}')
    os.utime(file, (time.time() - age,) * 2)
    return file


@pytest.mark.parametrize(("age", "held"), [(0, False), (170, False), (200, True)])
def test_a_claim_of_another_machine_lasts_as_long_as_it_is_renewed(store, age, held):
    foreign(store, age)
    with store.claim(KEY) as got:
        assert got is held


def test_a_holder_that_was_taken_for_dead_leaves_the_claim_to_whoever_took_it(store):
    file = store.root / "claims" / f"{KEY}.0"
    with store.claim(KEY) as slow:
        file.write_text('{"machine": "elsewhere"}')
        os.utime(file, (1, 1))
        with store.claim(KEY) as quick:
            assert slow
            assert quick
            claims._release(store._claim_files, KEY, 0)  # the slow one ends first
            with store.claim(KEY) as third:
                assert not third
    with store.claim(KEY) as again:
        assert again


def test_a_claim_is_renewed_while_it_is_held(store, monkeypatch):
    monkeypatch.setattr(claims, "_BEAT", 0.02)
    file = store.root / "claims" / f"{KEY}.0"
    with store.claim(KEY), store.temporary_folder() as scratch:
        for path in (file, scratch):
            os.utime(path, (1, 1))
        deadline = time.monotonic() + 10
        while min(path.stat().st_mtime for path in (file, scratch)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        FolderStore(store.root)
        assert file.exists(), "whoever opens the store sweeps nothing that is alive"
        assert scratch.exists()


def test_a_claim_that_was_left_behind_is_swept_after_a_day(store):
    file = foreign(store, 25 * 3600)
    FolderStore(store.root)
    assert not file.exists()


def test_a_claim_whose_maker_is_about_to_write_it_is_held(store):
    (store.root / "claims" / f"{KEY}.0").touch()
    with store.claim(KEY) as held:
        assert not held
