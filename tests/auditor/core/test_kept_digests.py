"""A kept digest stands for a file only as long as nothing can have changed it."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from auditor.core import kept_digests
from auditor.core.cache import CACHE_VARIABLE
from auditor.core.kept_digests import hashed_anew, kept_digest

SETTLED = 0.05
MARK = "0" * 64
"""What the cache is made to say, so that it shows where a digest is from."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "digests"


@pytest.fixture
def file(tmp_path, cache):
    """A file that was left alone for long enough."""
    if not kept_digests._is_trusted(tmp_path.resolve()):
        pytest.skip("the tests' folder is on a file system whose times prove nothing")
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    time.sleep(3 * SETTLED)
    return file


def asked(file):
    return kept_digest(file, least=1, settled=SETTLED)


def truth(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def marked(cache):
    """Let the one entry of the cache say something else."""
    [entry] = cache.iterdir()
    entry.write_text(json.dumps(json.loads(entry.read_text()) | {"digest": MARK}))
    return entry


def test_a_file_that_was_left_alone_is_read_once(file, cache):
    assert asked(file) == truth(file)
    marked(cache)
    assert asked(file) == MARK
    link = file.with_name("link")
    link.symlink_to(file)
    assert asked(link) == MARK
    with hashed_anew():
        assert asked(file) == truth(file)
    assert kept_digest(file) == truth(file), "a small file is always read"


def replaced(file):
    other = file.with_name("other")
    other.write_bytes(b"WEIGHTS")
    times = file.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)


def written_in_place(file):
    times = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"W")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def grown(file):
    times = file.stat()
    with file.open("ab") as opened:
        opened.write(b"!")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced, written_in_place, grown])
def test_a_change_that_hides_its_time_is_found_out(file, cache, change):
    asked(file)
    marked(cache)
    before = file.stat().st_mtime_ns
    change(file)
    assert file.stat().st_mtime_ns == before, "by its time nobody could tell"
    assert asked(file) == truth(file)


def test_nothing_is_kept_of_a_file_that_may_still_be_changing(file, cache):
    file.touch()
    assert asked(file) == truth(file)
    assert not cache.exists()
    os.utime(file, (time.time() + 3600,) * 2)
    time.sleep(3 * SETTLED)
    assert asked(file) == truth(file)
    assert not cache.exists(), "a time that is to come says nothing"


@pytest.mark.parametrize("how", ["writable by others", "malformed", "of another file", "a link"])
def test_an_entry_that_somebody_else_could_have_written_is_not_believed(file, cache, how):
    asked(file)
    entry = marked(cache)
    if how == "writable by others":
        entry.chmod(0o666)
    elif how == "malformed":
        entry.write_bytes(entry.read_bytes() + b"}")
    elif how == "of another file":
        entry.write_text(json.dumps(json.loads(entry.read_text()) | {"path": "00"}))
    else:
        elsewhere = entry.with_name("elsewhere")
        entry.rename(elsewhere)
        entry.symlink_to(elsewhere)
    assert asked(file) == truth(file)


def test_a_cache_that_cannot_be_written_costs_time_only(file, cache):
    cache.parent.mkdir()
    cache.write_bytes(b"")
    assert asked(file) == truth(file)


def test_times_that_a_file_system_makes_up_prove_nothing():
    assert not kept_digests._is_trusted(Path("/proc/self/status"))
