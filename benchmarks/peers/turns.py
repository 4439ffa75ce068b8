"""Sides that are compared, each in a process and an environment of its own."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.clock import Answer, Request, Times

ROOT = Path(__file__).parents[2]
"""Folder of this project."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TAIL = 2000
"""Characters of a failed side's output that are shown."""


class SideError(Exception):
    """A side did not finish its work."""


@dataclass(frozen=True)
class Side:
    """A tool with the interpreter that has it."""

    module: str
    """Name of the module here that calls it."""
    python: str
    folders: tuple[Path, ...] = ()
    """Folders that its interpreter imports from, besides this project's."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ran:
    """What one process of a side brought back."""

    whole: Times
    """Seconds of the process, its imports among them."""
    answer: Answer
    """Its figures; ``work`` holds the seconds without imports."""


def run(side: Side, request: Request, folder: Path) -> Ran:
    """Ask a side once.

    Args:
        side: Who is asked.
        request: What for.
        folder: Where request, answer and output are written.

    Raises:
        SideError: The process failed; its last words are told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked, answered = folder / "request.json", folder / "answer.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    answered.unlink(missing_ok=True)
    environment = {
        **os.environ,
        **dict.fromkeys(_THREADS, "1"),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *side.folders))),
        **side.environment,
    }
    command = [side.python, "-m", f"benchmarks.peers.{side.module}", str(asked), str(answered)]
    began = time.perf_counter()
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode or not answered.is_file():
        said = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        raise SideError(f"{side.module} ended with {process.returncode}:\n{said[-_TAIL:]}")
    found: Answer = json.loads(answered.read_text(encoding="utf-8"))
    return Ran({"wall": wall, "processor": usage.ru_utime + usage.ru_stime}, found)


def median(times: Sequence[Times]) -> Times:
    """Median seconds of several runs, each kind of time by itself."""
    return {kind: statistics.median(each[kind] for each in times) for kind in times[0]}


def total(times: Sequence[Times]) -> Times:
    """Seconds of several runs one after the other."""
    return {kind: sum(each[kind] for each in times) for kind in times[0]}
