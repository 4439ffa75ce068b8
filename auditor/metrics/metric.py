"""Metrics: definitions of knowing a fact, and the registry of all metrics."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.registry import Registry

Reads = Literal["text", "image"]
"""Form of the answers of a kind's models, and so of what a metric can read."""

T = TypeVar("T")
"""Type of what a metric reads: a transcript of answers, or pictures with a classifier's
probabilities."""


@dataclass(frozen=True)
class Score:
    """One metric's view of one fact."""

    k: float | None
    """Knowledge in [0, 1]; None where the fact lacks what the metric needs."""
    answer: str | None = None
    """Answer of the model, or what is seen in its picture."""


class Metric(ABC, Generic[T]):
    """Definition of knowing: from a model's answers to K.

    There is one K for each fact.

    The class attributes say what it costs and needs, so that a plan can be checked and estimated
    without asking any model.
    """

    name: ClassVar[str]
    """Name under which it is registered."""
    reads: ClassVar[Reads] = "text"
    """Kind of answer that it reads."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Optional fields of a fact without which it cannot be read."""
    generates: ClassVar[bool] = False
    """Whether it makes a language model write an answer."""
    chooses: ClassVar[bool] = False
    """Whether it scores the wrong answers of a fact, too."""
    closed: ClassVar[bool] = False
    """Whether to know is to choose among given answers, so that no model need write one."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Import packages whose versions decide what it reads."""

    def prepare(self) -> None:
        """Import what reading takes, so that no job's time holds it."""

    @abstractmethod
    def read(self, transcript: T) -> list[Score]:
        """Score the facts of a transcript, in its order."""

    def readable(self, fact: Fact) -> bool:
        """Whether the fact has what the metric needs."""
        return all(getattr(fact, field) for field in self.needs)


AnyMetric: TypeAlias = Metric[Any]
"""A metric of answers of any kind."""

METRICS: Registry[type[AnyMetric]] = Registry("metric", group="auditor.metrics")

M = TypeVar("M", bound=type[AnyMetric])


def metric(name: str) -> Callable[[M], M]:
    """Class decorator that registers a metric.

    A package that brings a metric also names it among its entry points:
    ``[project.entry-points."auditor.metrics"]``, ``name = "package.module:Class"``.

    Raises:
        AuditorError: Another class has that name.
    """

    def add(cls: M) -> M:
        cls.name = name
        METRICS.register(name)(cls)
        return cls

    return add


def find_metric(name: str, reads: Reads) -> type[AnyMetric]:
    """Find a metric for models that answer in text, or in images.

    Raises:
        AuditorError: There is none of that name (close names are suggested), or it reads the other
            kind of answer.
    """
    found = METRICS.get(name)
    if found.reads != reads:
        fitting = ", ".join(other for other, cls in METRICS if cls.reads == reads)
        raise AuditorError(
            f"the metric {name} reads {found.reads}, and these models answer in {reads}; choose "
            f"among: {fitting}."
        )
    return found
