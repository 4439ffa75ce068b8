"""Retraining on some of the forgotten facts brings back the others (RTT)."""

from attacks.relearning.family import FineTuning, RelearningAttack, phrasings, recipe
from attacks.relearning.learning_curve import Checkpoints, area, curve, joined, readings
from auditor.attack import AttackContext, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.messages import Message, message
from auditor.core.records import Record
from auditor.core.roles import ControlKind
from auditor.data.folds import Fold, SplitBy, folds
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel


class HeldOutFactsParameters(FineTuning):
    """Settings of relearning on part of the forget facts."""

    split: SplitBy = "attribute"
    """`attribute`: some facts of every entity are taught and its other facts are asked. `entity`:
    all facts of some entities are taught and those of the others are asked."""
    checkpoints: Checkpoints = (10, 20, 40)
    """Optimiser steps at which the facts are asked; K is the mean over them."""


@attack("relearning/held-out-facts")
class HeldOutFacts(RelearningAttack[HeldOutFactsParameters]):
    """Fine-tuning on one half of the forget set, evaluated on the other."""

    summary = "Fine-tune on half of the forgotten facts and ask the other half."
    details = """
    What was never taught here, and cannot be guessed from what was, can only come from the
    weights. The facts are split in two; each half is taught once, in all its phrasings, and
    asked once, so that every fact is asked by a model that was not shown it. K is the mean over
    a fixed grid of steps: the area under the learning curve, normalised. The split, the order
    of examples and LoRA's random start depend on the facts and the seed alone.
    """
    threat_model = (
        "Somebody with the weights, or with a fine-tuning service, who knows a part of what was "
        "removed and wants the rest."
    )
    access = "Weights, or fine-tuning; part of the forget set."
    cost = "40 steps of 16 examples and three evaluations, for each half."
    leak = (
        "K of facts that were not taught rises on the unlearned model, and not on a retrained one."
    )
    source = "Retraining on T, arXiv 2410.08827; LoRA, arXiv 2106.09685."

    kinds = ("causal-lm", "seq2seq")
    parameters_type = HeldOutFactsParameters
    presets = (
        Preset("by attribute", {"split": "attribute"}, "quick", mandatory=True),
        Preset("by entity", {"split": "entity"}),
        Preset("by attribute full", {"split": "attribute", "method": "full"}, "exhaustive"),
        Preset("by entity full", {"split": "entity", "method": "full"}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """Split of the facts, and settings that are not the usual ones."""
        return f"by {self.parameters.split} {self.parameters.changed}".strip()

    @property
    def taught(self) -> Message:
        """One half of the forget facts at a time."""
        return message("half_of_forget_facts_taught", split=self.parameters.split)

    @property
    def required_control(self) -> ControlKind:
        """Kind of positive control: obfuscated.

        The attack claims to bring back knowledge that was not taught again.
        """
        return "obfuscated"

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of both trainings and of all checkpoints.

        Every half is taught once; each checkpoint asks all facts, half of them at a time.
        """
        steps = self.parameters.checkpoints
        return 2 * self.training_tokens(steps[-1]) + (1 + len(steps)) * evaluation

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Teach each half and ask the other."""
        settings = self.parameters
        parts, examples = [], 0
        for fold in self._folds(context.evaluator):
            encoded = model.encode(phrasings(fold.given), end=True)
            asked = {fact.id for fact in fold.asked}
            parts.append(
                readings(
                    model,
                    context.evaluator,
                    encoded,
                    settings,
                    context.seed,
                    settings.checkpoints,
                    asked,
                )
            )
            examples += len(encoded)
        found = joined(parts)
        notes = {
            **recipe(settings, examples),
            "split": settings.split,
            **curve(found, context.evaluator),
        }
        return Record(rows=area(found), notes=notes)

    def _folds(self, evaluator: TextEvaluator) -> tuple[Fold, ...]:
        try:
            return folds(evaluator.sets.forget, self.parameters.split)
        except ValueError as error:
            raise UnavailableError(
                f"{error}; name the facts' entities (`fields: {{entity: …}}`), or split by "
                f"{'model' if self.parameters.split == 'attribute' else 'attribute'}"
            ) from error
