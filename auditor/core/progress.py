"""Reporting of progress, whoever listens."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Advances the current task by ``n`` steps.

    A short note is optional.
    """

    def __call__(self, n: int = 1, note: str = "") -> None:
        """Report ``n`` more steps done."""


class Progress(Protocol):
    """Opens tasks of long work.

    The command line draws them; tests and libraries keep them silent.
    """

    def task(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """Open a task of ``total`` steps.

        ``description`` says what is done and why.
        """


class SilentProgress:
    """Progress that nobody watches."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """Open a task whose steps go nowhere."""

        def advance(n: int = 1, note: str = "") -> None:
            return None

        yield advance
