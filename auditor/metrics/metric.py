"""What a metric is: a definition of knowing, for models of one kind."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from auditor.core.facts import Fact

T = TypeVar("T")
"""What a metric reads: what models of its kind leave behind."""


@dataclass(frozen=True)
class Score:
    """One metric's view of one fact."""

    k: float | None
    """Knowledge in [0, 1]; None where the fact lacks what the metric needs."""
    answer: str | None = None
    """What the model said, or what is seen in what it drew."""


class Metric(ABC, Generic[T]):
    """A definition of knowing."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Optional fields of a fact without which it cannot be read."""

    @abstractmethod
    def read(self, transcript: T) -> list[Score]:
        """One reading per fact, in the transcript's order."""

    def readable(self, fact: Fact) -> bool:
        """Whether the fact has what the metric needs."""
        return all(getattr(fact, field) for field in self.needs)
