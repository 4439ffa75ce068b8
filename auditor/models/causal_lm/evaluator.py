"""Puts the audit's questions to a subject, with the audit's metrics."""

from collections.abc import Callable, Collection, Sequence

from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.records import Row
from auditor.metrics.metric import METRICS
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.transcript import Transcript


class Evaluator:
    """The same questions and the same metrics for every arm under every attack."""

    def __init__(self, sets: FactSets, metrics: Sequence[str]) -> None:
        self.sets = sets
        self.metrics = {name: METRICS.get(name)() for name in metrics}

    def evaluate(
        self,
        subject: CausalLM,
        sets: Sequence[SetName] = ("forget", "retain"),
        rewrite: Callable[[Fact], Fact] = lambda fact: fact,
        *,
        only: Collection[str] | None = None,
        shown: int = 0,
    ) -> tuple[Row, ...]:
        """Measure K of every fact of ``sets``.

        Args:
            subject: who is asked.
            sets: which facts are asked.
            rewrite: changes what is asked (another prompt); id and answer stay.
            only: ids of the facts that are asked, by default all of ``sets``.
            shown: tokens of each answer that the subject is given (at least one is left to it);
                K is knowledge of the rest.

        Raises:
            MeasurementError: something could not be measured; nothing takes its place.
        """
        asked = [(name, fact) for name in sets for fact in self.sets.named(name)]
        if only is not None:
            asked = [(name, fact) for name, fact in asked if fact.id in only]
        transcript = Transcript(subject, [rewrite(fact) for _, fact in asked], shown)
        return tuple(
            Row(set_name, fact.id, fact.entity, metric_name, reading.k, reading.answer)
            for metric_name, metric in self.metrics.items()
            for (set_name, fact), reading in zip(asked, metric.read(transcript), strict=True)
            if reading.k is not None
        )
