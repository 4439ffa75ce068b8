"""Evaluator of models that answer in text."""

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any, NamedTuple, Self

from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.records import SPECIFICITY, Row
from auditor.metrics.metric import METRICS
from auditor.models.evaluator import Evaluator
from auditor.models.language.model import LanguageModel
from auditor.models.language.shape import holds_experts
from auditor.models.language.specificity import answer_specificity
from auditor.models.language.transcript import Transcript


class Asking(NamedTuple):
    """One way in which facts are asked."""

    rewrite: Callable[[Fact], Fact]
    """Changes what is asked (another prompt); id and answer stay."""
    only: Collection[str]
    """Ids of the facts that are asked."""


class TextEvaluator(Evaluator[LanguageModel]):
    """Asks for text.

    Args:
        sets: The facts.
        metrics: Names of metrics of text, the primary one first.
    """

    def __init__(self, sets: FactSets, metrics: Sequence[str]) -> None:
        self.sets = sets
        self.metrics = {name: METRICS.get(name)() for name in metrics}
        for metric in self.metrics.values():
            metric.prepare()

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
        transcript = Transcript(model, [rewrite(fact) for _, fact in asked], shown)
        return self._read([asked], transcript)[0]

    def evaluate_wordings(
        self, model: LanguageModel, name: SetName, askings: Sequence[Asking]
    ) -> list[tuple[Row, ...]]:
        """Measure K of a set's facts in several wordings at once.

        Args:
            model: The model that is asked.
            name: The set.
            askings: How its facts are asked.

        Returns:
            Rows of each way of asking.

        Raises:
            MeasurementError: Something could not be measured; nothing takes its place.
        """
        parts = [
            [(name, fact) for fact in self.sets.named(name) if fact.id in asking.only]
            for asking in askings
        ]
        facts = [
            asking.rewrite(fact)
            for asking, part in zip(askings, parts, strict=True)
            for _, fact in part
        ]
        if not facts:
            return [() for _ in askings]
        return self._read(parts, Transcript(model, facts))

    def evaluate_released(self, model: LanguageModel) -> tuple[Row, ...]:
        """Measure all sets, and how specific the forget set's answers are."""
        names: tuple[SetName, ...] = ("forget", "retain", "holdout")
        asked = [(name, fact) for name in names for fact in self.sets.named(name)]
        transcript = Transcript(model, [fact for _, fact in asked])
        rows = self._read([asked], transcript)[0]
        forget = self.sets.forget
        own = answer_specificity(model, forget, transcript.greedy[: len(forget)])
        return rows + tuple(
            Row("forget", fact.id, fact.entity, SPECIFICITY, k, None)
            for fact, k in zip(forget, own, strict=True)
            if k is not None
        )

    def _read(
        self, parts: Sequence[Sequence[tuple[SetName, Fact]]], transcript: Transcript
    ) -> list[tuple[Row, ...]]:
        """K of every fact by every metric.

        It comes by the parts that were asked together.
        """
        readings = {name: iter(metric.read(transcript)) for name, metric in self.metrics.items()}
        given = iter(transcript.given)
        worded = [
            [
                None if text == fact.prompt else text
                for (_, fact), text in zip(part, islice(given, len(part)), strict=True)
            ]
            for part in parts
        ]
        return [
            tuple(
                Row(
                    set_name,
                    fact.id,
                    fact.entity,
                    metric,
                    reading.k,
                    reading.answer,
                    prompt=prompt,
                )
                for metric, found in readings.items()
                for (set_name, fact), prompt, reading in zip(
                    part, prompts, islice(found, len(part)), strict=True
                )
                if reading.k is not None
            )
            for part, prompts in zip(parts, worded, strict=True)
        ]

    def notes(self, model: LanguageModel) -> dict[str, Any]:
        """Note whether there are stacked experts, and traces of thought."""
        found = {"experts": holds_experts(model.network), "traces": model.expects_trace}
        return {name: True for name, holds in found.items() if holds}

    def with_metrics(self, metrics: Sequence[str]) -> Self:
        """The same questions with other metrics."""
        return type(self)(self.sets, metrics)
