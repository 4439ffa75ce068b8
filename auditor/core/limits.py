"""Work that foreign files ask for, tried within limits first.

A configuration that names a billion layers, or a template that loops without end, takes what it is
given. So the work is tried in a child process first, which the system stops at its limits. Nothing
of the child's result is used: whoever calls does the work again, and meets its errors himself.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

SECONDS = 5
"""Seconds of processor time that a child may take."""
MEMORY = 2**30
"""Bytes that a child may take besides what this process has."""
_WAITED = 60.0
"""Seconds after which a child is ended in any case: it may wait for a lock that nobody holds."""
_OUT_OF_MEMORY = 42

Limit = Literal["time", "memory"]


def exceeded(work: Callable[[], object], seconds: int = SECONDS) -> Limit | None:
    """Try work in a child, and return the limit that it exceeds.

    Args:
        work: What is to be done; it must need neither threads nor an accelerator.
        seconds: Seconds of processor time that it may take.

    Returns:
        None where it keeps within the limits, fails for another reason, or cannot be tried on
        this system.
    """
    if not sys.platform.startswith("linux"):  # other systems cannot fork, or not safely
        return None
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = multiprocessing.get_context("fork").Process(
        target=_limited, args=(work, seconds), daemon=True
    )
    try:
        child.start()
    except (OSError, AssertionError):  # no memory for a copy; a worker may not have children
        return None
    child.join(_WAITED)
    if child.is_alive():  # it rests, or so do all on a busy machine
        child.kill()
        child.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if child.exitcode and child.exitcode < 0 and spent > seconds / 2:
        return "time"
    return "memory" if child.exitcode == _OUT_OF_MEMORY else None


def _limited(work: Callable[[], object], seconds: int) -> None:
    """Do the work under limits; the exit code says how it ended."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    code = 0
    try:
        work()
    except MemoryError:
        code = _OUT_OF_MEMORY
    except BaseException:  # whoever calls meets it, too
        code = 1
    os._exit(code)
