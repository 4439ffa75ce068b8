"""Progress on a terminal and in a log.

A terminal gets bars by rich, a log a line now and then.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from auditor.cli.console import ERR
from auditor.core.progress import Advance, SilentProgress
from auditor.core.progress import Progress as AnyProgress

_QUIET_SECONDS = 10.0
"""Least seconds between two lines of a task in a log."""


class TerminalProgress:
    """Bars that say what is done and why."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """Draw one task until it ends."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        with Progress(*columns, console=ERR) as bars:
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
        began = spoken = time.monotonic()
        done = 0
        ERR.print(f"{description} (0/{total})", markup=False, highlight=False)

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal done, spoken
            done += n
            if time.monotonic() - spoken >= _QUIET_SECONDS:
                spoken = time.monotonic()
                left = _left(spoken - began, done, total)
                ERR.print(
                    f"{description} ({done}/{total}{left}) {note}", markup=False, highlight=False
                )

        yield advance
        seconds = time.monotonic() - began
        ERR.print(f"{description} ({done}/{total}), {seconds:.0f} s", markup=False, highlight=False)


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
