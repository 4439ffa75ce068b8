"""Evaluator that finds in a log what a model was asked."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.records import Row
from auditor.metrics.metric import METRICS
from auditor.models.evaluation_log.model import EvaluationLog
from auditor.models.evaluation_log.reading import RECALL, knowledge, metrics_of
from auditor.models.evaluator import Evaluator

NOTE = "log"
"""Name under which the figures of a whole log are noted."""


class EvaluationLogEvaluator(Evaluator[EvaluationLog]):
    """Looks up what was asked; it cannot ask anything else.

    Args:
        sets: The facts.
        metrics: Names of metrics, the primary one first.
    """

    def __init__(self, sets: FactSets, metrics: Sequence[str]) -> None:
        self.sets = sets
        self.metrics = {name: METRICS.get(name)() for name in metrics}

    def evaluate(
        self,
        model: EvaluationLog,
        sets: Sequence[SetName] = ("forget", "retain"),
        rewrite: Callable[[Fact], Fact] = lambda fact: fact,
        *,
        only: Collection[str] | None = None,
    ) -> tuple[Row, ...]:
        """Return K of every fact of ``sets``, as the log holds it.

        Raises:
            MeasurementError: The log holds no such fact.
            UnavailableError: Something else is asked than the log holds.
        """
        logged = {(fact.set, fact.id): fact for fact in model.log.facts}
        rows = []
        for name in sets:
            for fact in self.sets.named(name):
                if only is not None and fact.id not in only:
                    continue
                if rewrite(fact) != fact:
                    raise UnavailableError("a log holds no answers to other prompts")
                held = logged.get((name, fact.id))
                if held is None or (held.prompt, held.answer) != (fact.prompt, fact.answer):
                    raise MeasurementError(f"the log does not hold {fact.id} as it is asked")
                rows += [
                    Row(
                        name,
                        fact.id,
                        fact.entity,
                        metric,
                        knowledge(held, metric),
                        held.said if metric == RECALL else None,
                    )
                    for metric in self.metrics
                    if metric in metrics_of(held)
                ]
        return tuple(rows)

    def with_metrics(self, metrics: Sequence[str]) -> Self:
        """The same questions with other metrics."""
        return type(self)(self.sets, metrics)

    def notes(self, model: EvaluationLog) -> dict[str, Any]:
        """Return the figures of the whole log."""
        return {NOTE: {"figures": dict(model.log.figures), "auc": dict(model.log.auc)}}
