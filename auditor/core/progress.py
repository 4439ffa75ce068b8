"""How long work reports how far it has come, without knowing who listens."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves the current task on by ``n`` steps, with an optional short note."""

    def __call__(self, n: int = 1, note: str = "") -> None:
        """Report ``n`` more steps done."""


class Progress(Protocol):
    """Opens tasks; the command line draws them, tests and libraries keep them silent."""

    def task(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """Open a task of ``total`` steps that says in ``description`` what is done and why."""


class SilentProgress:
    """Progress that nobody watches."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """Open a task whose steps go nowhere."""

        def advance(n: int = 1, note: str = "") -> None:
            return None

        yield advance
