"""Progress on a terminal and in a log.

A terminal gets bars by rich, a log a line now and then.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from auditor.cli.console import ERR, foreign
from auditor.core.progress import Advance, SilentProgress
from auditor.core.progress import Progress as AnyProgress

_NOTE = 400
"""Most characters of a note that are shown."""
_QUIET_SECONDS = 10.0
"""Least seconds between two lines of a task in a log."""
_LOOK_SECONDS = 1.0
"""Seconds after which it is looked for a line that was held back."""


class _LeftColumn(ProgressColumn):
    """Time left at the speed of everything done so far.

    Jobs take minutes, and rich forgets what is older than half of one.
    """

    def render(self, task: Task) -> Text:
        """Return the time left; nothing before a first step is done."""
        left = _left(task.elapsed or 0.0, int(task.completed), int(task.total or 0))
        return Text(left.removeprefix(", "))


class _NotedBars(Progress):
    """Bars, and what is being done in lines of their own.

    No name is cut.
    """

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the bars and their notes."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if note := task.fields["note"]:
                yield Padding(foreign(note, _NOTE, "dim"), (0, 0, 0, 2))


class TerminalProgress:
    """Bars that say what is done and why."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """Draw one task until it ends."""
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            _LeftColumn(),
        )
        console = _bound()
        console.print(description, markup=False, highlight=False)
        with _NotedBars(*columns, console=console) as bars:
            task = bars.add_task(description, total=total, note="")

            def advance(n: int = 1, note: str = "") -> None:
                bars.update(task, advance=n, note=note)

            yield advance
            bars.update(task, note="")


class LogProgress:
    """Plain lines for logs and pipes."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """Write when the task begins, now and then, and when it ends."""
        line = _LogLine(description, total)
        ended = threading.Event()

        def catch_up() -> None:
            while not ended.wait(_LOOK_SECONDS):
                line.catch_up()

        watch = threading.Thread(target=catch_up, daemon=True)
        watch.start()
        try:
            yield line.advance
        finally:
            ended.set()
            watch.join()
        line.end()


class _LogLine:
    """Line of one task in a log, written anew as it goes.

    Args:
        description: What is done and why.
        total: Its steps.
    """

    def __init__(self, description: str, total: int) -> None:
        self._description, self._total = description, total
        self._began = self._spoken = time.monotonic()
        self._done, self._note, self._held_back = 0, "", False
        self._lock = threading.Lock()
        self._console = _bound()
        self._write(f"(0/{total})")

    def advance(self, n: int = 1, note: str = "") -> None:
        """Take in more steps, and say so now and then."""
        with self._lock:
            self._done, self._note, self._held_back = self._done + n, note, True
            self._say()

    def catch_up(self) -> None:
        """Say the last that was held back.

        Else a long step would go by another's name.
        """
        with self._lock:
            self._say()

    def end(self) -> None:
        """Say how long it took."""
        seconds = time.monotonic() - self._began
        self._write(f"({self._done}/{self._total}), {seconds:.0f} s")

    def _say(self) -> None:
        if not self._held_back or time.monotonic() - self._spoken < _QUIET_SECONDS:
            return
        self._spoken, self._held_back = time.monotonic(), False
        left = _left(self._spoken - self._began, self._done, self._total)
        self._write(f"({self._done}/{self._total}{left}) {self._note}")

    def _write(self, text: str) -> None:
        self._console.print(f"{self._description} {text}", markup=False, highlight=False)


def _bound() -> Console:
    """Return the console of standard error, bound to what that is now.

    Attacks put other streams in its place to silence a library, for minutes.
    """
    console = copy(ERR)
    console.file = ERR.file
    return console


def _left(seconds: float, done: int, total: int) -> str:
    """Return the time left at the speed of what is done."""
    if not 0 < done < total:
        return ""
    left = seconds / done * (total - done)
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"


def chosen_progress(quiet: bool) -> AnyProgress:
    """Bars on a terminal, lines elsewhere, nothing if quiet."""
    if quiet:
        return SilentProgress()
    return TerminalProgress() if ERR.is_terminal else LogProgress()
