"""Evaluator of models that answer in text."""

from collections.abc import Callable, Collection, Sequence
from typing import Self

from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.records import SPECIFICITY, Row
from auditor.metrics.metric import METRICS
from auditor.models.evaluator import Evaluator
from auditor.models.language.model import LanguageModel
from auditor.models.language.specificity import answer_specificity
from auditor.models.language.transcript import Transcript


class TextEvaluator(Evaluator[LanguageModel]):
    """Asks for text.

    Args:
        sets: The facts.
        metrics: Names of metrics of text, the primary one first.
    """

    def __init__(self, sets: FactSets, metrics: Sequence[str]) -> None:
        self.sets = sets
        self.metrics = {name: METRICS.get(name)() for name in metrics}

    def evaluate(
        self,
        model: LanguageModel,
        sets: Sequence[SetName] = ("forget", "retain"),
        rewrite: Callable[[Fact], Fact] = lambda fact: fact,
        *,
        only: Collection[str] | None = None,
        shown: int = 0,
    ) -> tuple[Row, ...]:
        """Measure K of every fact of ``sets``.

        Args:
            model: The model that is asked.
            sets: The sets whose facts are asked.
            rewrite: Changes what is asked (another prompt); id and answer stay.
            only: Ids of the facts that are asked, by default all of ``sets``.
            shown: Tokens of each answer that the model is given (at least one is left to it); K is
                knowledge of the rest.

        Raises:
            MeasurementError: Something could not be measured; nothing takes its place.
        """
        asked = [(name, fact) for name in sets for fact in self.sets.named(name)]
        if only is not None:
            asked = [(name, fact) for name, fact in asked if fact.id in only]
        return self._read(asked, Transcript(model, [rewrite(fact) for _, fact in asked], shown))

    def evaluate_released(self, model: LanguageModel) -> tuple[Row, ...]:
        """Measure all sets, and how specific the forget set's answers are."""
        names: tuple[SetName, ...] = ("forget", "retain", "holdout")
        asked = [(name, fact) for name in names for fact in self.sets.named(name)]
        transcript = Transcript(model, [fact for _, fact in asked])
        rows = self._read(asked, transcript)
        forget = self.sets.forget
        own = answer_specificity(model, forget, transcript.greedy[: len(forget)])
        return rows + tuple(
            Row("forget", fact.id, fact.entity, SPECIFICITY, k, None)
            for fact, k in zip(forget, own, strict=True)
            if k is not None
        )

    def _read(
        self, asked: Sequence[tuple[SetName, Fact]], transcript: Transcript
    ) -> tuple[Row, ...]:
        """K of every fact by every metric."""
        return tuple(
            Row(set_name, fact.id, fact.entity, metric_name, reading.k, reading.answer)
            for metric_name, metric in self.metrics.items()
            for (set_name, fact), reading in zip(asked, metric.read(transcript), strict=True)
            if reading.k is not None
        )

    def with_metrics(self, metrics: Sequence[str]) -> Self:
        """The same questions with other metrics."""
        return type(self)(self.sets, metrics)
