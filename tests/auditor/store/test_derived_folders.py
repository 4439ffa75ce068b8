"""Copies of models take no more than their share of the disk."""

import os
import shutil
import time
from collections import namedtuple

import pytest

from auditor.store import derived_folders
from auditor.store.folder_store import FolderStore

HOUR = 3600
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def add(store, name, size, hours):
    """Keep a copy of some bytes that was last used some hours ago."""
    folder = store.derived(name, lambda empty: (empty / "weights").write_bytes(bytes(size)))
    then = time.time() - hours * HOUR
    os.utime(folder, (then, then))
    return folder


def test_those_not_used_for_longest_go_first(store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 500_000))
    one, two, three = (add(store, n, 100_000, h) for n, h in (("a", 30), ("b", 90), ("c", 60)))
    assert [f.exists() for f in (one, two, three)] == [True] * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 110_000))
    four = add(store, "d", 100_000, 0)
    # half of 410,000 bytes is for copies: one goes before it is made, and one after
    assert [f.exists() for f in (one, two, three, four)] == [True, False, False, True]


def test_what_a_worker_may_be_reading_stays(store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    folders = [add(store, n, 1000, 1) for n in "ab"]
    store.derived("a", pytest.fail)
    assert all(f.exists() for f in folders)


def test_a_use_counts(store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10**6))
    old, older = add(store, "a", 1000, 90), add(store, "b", 1000, 99)
    store.derived("b", pytest.fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    add(store, "c", 1000, 0)
    assert not old.exists()
    assert older.exists()


def test_leftovers_of_killed_runs_go(tmp_path):
    root = tmp_path / derived_folders.DERIVED
    leftover, under_way = (root / f".{n}.partial" for n in "ab")
    for folder in (leftover, under_way):
        folder.mkdir(parents=True)
    then = time.time() - 25 * HOUR
    os.utime(leftover, (then, then))
    derived_folders.remove_unused(root)
    assert [f.exists() for f in (leftover, under_way)] == [False, True]
