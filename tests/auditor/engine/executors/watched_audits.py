"""Audits whose progress and evidence are looked at."""

from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from auditor.core.progress import SilentProgress

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install 'ray>=2.40'"
)


def evidence(store):
    """Content of every file of every job, but what it took.

    What a worker was writing when it was killed stays in a folder that is no job's.
    """
    return {
        str(file.relative_to(store.root)): file.read_bytes()
        for file in (store.root / "jobs").glob("[!.]*/*/*")
        if file.is_file() and file.name != "cost.json"
    }


class Watching(SilentProgress):
    """Progress that keeps what it was told."""

    def __init__(self, act=lambda total: None):
        self.lines, self.done, self.act = [], 0, act

    @contextmanager
    def task(self, description, total):
        def advance(n=1, note=""):
            self.done += n
            self.lines.append(note)
            self.act(self.done)

        yield advance
