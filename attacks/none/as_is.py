"""The models as they are, at full precision."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attacks.none.logged_figures import logged_figures
from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.findings import SideFigure
from auditor.core.records import Record


@attack("none/as-is")
class AsIs(Attack[Parameters, Any, Any]):
    """Evaluation of the model as it was released."""

    summary = "Ask the model as it was released, without any attack."
    details = """
    Every plan contains it: it shows what the original knew, what unlearning took away, and what
    it cost in utility.
    """
    threat_model = "A curious user."
    access = "Questions and answers, or prompts and pictures."
    cost = "One pass over the forget, retain and holdout facts."
    leak = "Knowledge that was never hidden."
    source = "The audit's own metrics; see each of them."

    kinds: ClassVar[tuple[str, ...]] = ("causal-lm", "seq2seq", "text-to-image", "evaluation-log")
    presets = (Preset("full precision", profile="quick", mandatory=True),)

    @property
    def variant(self) -> str:
        """The only variant."""
        return "full precision"

    def measure(self, model: Any, context: AttackContext[Any]) -> Record:
        """Examine all three sets on the unchanged model."""
        return Record(
            rows=context.evaluator.evaluate_released(model),
            notes=context.evaluator.notes(model),
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Published figures of whole logs, where logs stand in for models."""
        return tuple(logged_figures(notes))
