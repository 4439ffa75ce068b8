"""Puts the audit's questions to a subject, with the audit's probes."""

from collections.abc import Callable, Collection, Sequence

from auditor.data.fact import Fact, FactSets, SetName
from auditor.evidence.record import Row
from auditor.probes.knowledge import PROBES
from auditor.probes.transcript import Transcript
from auditor.subjects.causal_lm import CausalLM


class Examiner:
    """The same questions and the same probes for every arm under every attack."""

    def __init__(self, sets: FactSets, probes: Sequence[str]) -> None:
        self.sets = sets
        self.probes = {name: PROBES.get(name)() for name in probes}

    def examine(
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
            Row(set_name, fact.id, fact.subject, probe_name, reading.k, reading.answer)
            for probe_name, probe in self.probes.items()
            for (set_name, fact), reading in zip(asked, probe.read(transcript), strict=True)
            if reading.k is not None
        )
