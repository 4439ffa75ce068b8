"""The models as they are, at full precision."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from auditor.attack import Attack, Level, Parameters, attack
from auditor.evidence.record import Record
from auditor.examiner import Examiner
from auditor.findings import Finding
from auditor.subjects.causal_lm import CausalLM


@attack("none/as-is")
class AsIs(Attack[Parameters]):
    """Ask the model as it was released, without any attack.

    Every plan contains it: it shows what the original knew, what unlearning took away, and what
    it cost in utility.

    Threat model: a curious user.

    Access: questions and answers.

    Cost: one pass over the forget, retain and holdout facts.

    A leak: knowledge that was never hidden.

    Source: the audit's own probes; see each of them.
    """

    levels: ClassVar[Sequence[Level]] = (Level(profile="quick", mandatory=True),)

    @property
    def variant(self) -> str:
        """The only variant."""
        return "full precision"

    def measure(
        self,
        subject: CausalLM,
        examiner: Examiner,
        pool: Sequence[Finding],
        seed: int,
        scratch: Path,
    ) -> Record:
        """Examine all three sets on the unchanged model."""
        return Record(rows=examiner.examine(subject, ("forget", "retain", "holdout")))
