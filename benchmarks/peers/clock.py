"""Time of a piece of work, and the way that a side is asked; needs the standard library alone."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Times = dict[str, float]
"""Seconds of ``wall`` and of ``processor`` time."""
Request = dict[str, Any]
Answer = dict[str, Any]


@contextmanager
def timed() -> Iterator[Times]:
    """Fill in the seconds that the block takes when it ends."""
    times: Times = {}
    wall, processor = time.perf_counter(), time.process_time()
    yield times
    times["wall"] = time.perf_counter() - wall
    times["processor"] = time.process_time() - processor


def answer(work: Callable[[Request], Answer]) -> None:
    """Do the work that the file named first asks for, and write to the one named second."""
    asked, answered = map(Path, sys.argv[1:])
    found = work(json.loads(asked.read_text(encoding="utf-8")))
    answered.write_text(json.dumps(found), encoding="utf-8")
