"""Evaluators, which ask models of any kind the audit's questions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.records import Row
from auditor.models.model import AuditedModel

M = TypeVar("M", bound=AuditedModel, contravariant=True)
"""Type of the models that are asked."""


class Evaluator(ABC, Generic[M]):
    """Asks every arm the same, under every attack.

    Questions and metrics are the same each time.
    """

    sets: FactSets
    metrics: Mapping[str, Any]
    """Metrics by name, the primary one first."""

    @abstractmethod
    def evaluate(
        self,
        model: M,
        sets: Sequence[SetName] = ("forget", "retain"),
        rewrite: Callable[[Fact], Fact] = lambda fact: fact,
        *,
        only: Collection[str] | None = None,
    ) -> tuple[Row, ...]:
        """Measure K of every fact of ``sets``.

        Args:
            model: The model that is asked.
            sets: The sets whose facts are asked.
            rewrite: Changes what is asked (another prompt); id and answer stay.
            only: Ids of the facts that are asked, by default all of ``sets``.

        Raises:
            MeasurementError: Something could not be measured; nothing takes its place.
        """

    def evaluate_released(self, model: M) -> tuple[Row, ...]:
        """Measure all sets on the model as it was released.

        A kind of model adds what only its own answers show; by default nothing.
        """
        return self.evaluate(model, ("forget", "retain", "holdout"))

    def notes(self, model: M) -> dict[str, Any]:
        """Return notes on a model beside K, by default none."""
        return {}

    @abstractmethod
    def with_metrics(self, metrics: Sequence[str]) -> Self:
        """The same questions with other metrics, named with the primary one first."""
