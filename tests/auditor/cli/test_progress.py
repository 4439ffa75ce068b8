"""Progress in a terminal of 80 columns and in a log: whole names, time left, jobs found."""

import contextlib
import io
import re
import sys
import time

import pytest
from rich.console import Console

from auditor.cli import progress
from auditor.cli.progress import LogProgress, TerminalProgress
from auditor.engine.executors.base import TASK, task_of

LABEL = "relearning/held-out-facts by attribute full rate 0.0001 on retrained-0: 1,024 answers"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def written(monkeypatch):
    """What is written on a terminal of 80 columns."""
    shown = io.StringIO()
    terminal = Console(file=shown, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "ERR", terminal)
    return shown


class _Jobs:
    """Entries whose jobs have nothing but keys."""

    def __init__(self, key):
        self.job, self.key = self, key


def test_jobs_found_in_the_store_are_counted_once():
    jobs = [_Jobs(key) for key in "abcab"]
    assert task_of(jobs, 3) == TASK
    assert task_of(jobs, 1) == f"{TASK}: 2 of 3 jobs found in the store, 1 to run"


def test_a_terminal_cuts_no_name_and_tells_the_time_left_after_one_job(written, monkeypatch):
    with TerminalProgress().task(f"{TASK}: 12 of 40 jobs found in the store, 28 to run", 28) as on:
        time.sleep(0.2)
        on(1, LABEL)
        time.sleep(0.3)
    text = ESCAPES.sub("", written.getvalue())
    lines = re.split(r"[\r\n]+", text)
    assert all(len(line) <= 80 for line in lines)
    assert "12 of 40 jobs found in the store, 28 to run" in text
    assert "\u2026" not in text
    words = " ".join(text.split())
    assert LABEL in words
    assert re.search(r"1/28 0:00:0\d about \d+ s left", words)


@pytest.fixture
def shown(monkeypatch):
    """What is written to the terminal."""
    written = io.StringIO()
    monkeypatch.setattr(progress, "ERR", Console(file=written, width=400))
    return written


def test_a_log_tells_the_time_left(shown, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET_SECONDS", 0.0)
    with LogProgress().task("asking", 4) as on:
        time.sleep(0.01)
        on(1, LABEL)
    assert re.search(rf"asking \(1/4, about 0 s left\) {re.escape(LABEL)}", shown.getvalue())


def test_a_log_names_the_step_that_takes_long_and_not_the_one_before_it(shown, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET_SECONDS", 0.3)
    with LogProgress().task("asking", 3) as on:
        time.sleep(0.4)
        on(1, "first")
        on(0, "second")  # too soon after that line to be said at once
        assert "second" not in shown.getvalue()
        waited = time.monotonic()
        while "second" not in shown.getvalue() and time.monotonic() - waited < 20:
            time.sleep(0.05)
        lines = shown.getvalue().splitlines()
        time.sleep(1.3)
        assert shown.getvalue().splitlines() == lines  # nothing is said twice
    assert [line.rpartition(" ")[2] for line in lines] == ["(0/3)", "first", "second"]
    assert shown.getvalue().splitlines()[-1].startswith("asking (1/3), ")


@pytest.mark.parametrize("kind", [LogProgress, TerminalProgress])
def test_what_an_attack_silences_does_not_silence_progress(kind, monkeypatch):
    """Calibration by a library is silenced for minutes, while it compiles kernels."""
    seen, silenced = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", seen)
    console = Console(stderr=True, width=80, force_terminal=kind is TerminalProgress)
    monkeypatch.setattr(progress, "ERR", console)
    monkeypatch.setattr(progress, "_QUIET_SECONDS", 0.0)
    with kind().task("asking", 3) as on:
        on(1, "first")
        with contextlib.redirect_stderr(silenced):
            on(1, "second")
            waited = time.monotonic()
            while "second" not in seen.getvalue() and time.monotonic() - waited < 20:
                time.sleep(0.05)
            assert "second" in seen.getvalue()
    assert not silenced.getvalue()
