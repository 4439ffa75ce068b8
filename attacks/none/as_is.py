"""The models as they are, at full precision."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from auditor.attack import Attack, Level, Parameters, attack
from auditor.core.findings import Finding
from auditor.core.records import Record


@attack("none/as-is")
class AsIs(Attack[Parameters, Any, Any]):
    """Ask the model as it was released, without any attack.

    Every plan contains it: it shows what the original knew, what unlearning took away, and what
    it cost in utility.

    Threat model: a curious user.

    Access: questions and answers, or prompts and pictures.

    Cost: one pass over the forget, retain and holdout facts.

    A leak: knowledge that was never hidden.

    Source: the audit's own metrics; see each of them.
    """

    kinds: ClassVar[tuple[str, ...]] = ("causal-lm", "text-to-image")
    levels: ClassVar[Sequence[Level]] = (Level(profile="quick", mandatory=True),)

    @property
    def variant(self) -> str:
        """The only variant."""
        return "full precision"

    def measure(
        self,
        subject: Any,
        evaluator: Any,
        pool: Sequence[Finding],
        seed: int,
        scratch: Path,
    ) -> Record:
        """Examine all three sets on the unchanged model."""
        return Record(rows=evaluator.evaluate(subject, ("forget", "retain", "holdout")))
