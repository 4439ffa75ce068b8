"""Files and folders that are whole or not there."""

import os
import signal
import subprocess
import sys

import pytest

from auditor.core.files import PARTIAL, whole_folder, write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    file = tmp_path / "a.json"
    for content in (b"one", b"two"):
        write_whole(file, content)
        assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_stays_as_it_was_where_it_cannot_be_written(tmp_path):
    file = tmp_path / "a.json"
    write_whole(file, b"one")
    with pytest.raises(TypeError):
        write_whole(file, None)
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "a.json", b"one")
    assert file.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_appears_when_it_is_whole(tmp_path):
    final = tmp_path / "deep" / "world"
    with whole_folder(final) as unfinished:
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "a").write_text("a")
        assert not final.exists()
        assert unfinished.name == final.name
    assert (final / "inner" / "a").read_text() == "a"
    assert [entry.name for entry in final.parent.iterdir()] == [final.name]


def test_a_folder_that_fails_is_not_there(tmp_path):
    def fill():
        with whole_folder(tmp_path / "world") as unfinished:
            (unfinished / "a").write_text("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_make_a_folder_the_first_stays(tmp_path):
    final = tmp_path / "world"
    with whole_folder(final) as slow:
        (slow / "a").write_text("slow")
        with whole_folder(final) as quick:
            (quick / "a").write_text("quick")
    assert (final / "a").read_text() == "quick"
    assert list(tmp_path.iterdir()) == [final]


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path):
    final = tmp_path / "world"
    final.write_text("a file")
    with pytest.raises(OSError, match="world"), whole_folder(final) as unfinished:
        (unfinished / "a").write_text("a")
    assert final.read_text() == "a file"


def test_a_killed_process_leaves_only_what_is_known_as_unfinished(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from auditor.core.files import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as unfinished:\n"
        "    (unfinished / 'a').write_text('a')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    final = tmp_path / "world"
    ended = subprocess.run([sys.executable, "-c", program, os.fspath(final)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == list(tmp_path.glob(PARTIAL))
