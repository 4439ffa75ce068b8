"""Training on harmless data brings back what was forgotten."""

from collections.abc import Mapping, Sequence
from typing import Literal

from attacks.quantization.calibration import generic_texts
from attacks.relearning.family import FineTuning, RelearningAttack, phrasings, recipe
from attacks.relearning.learning_curve import Checkpoints, area, curve, mean_loss, readings
from auditor.attack import AttackContext, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.hashing import digest
from auditor.core.messages import Message, message
from auditor.core.records import Record
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import Example, LanguageModel

_TEXTS = 256
_SENTENCES = 2
"""Generated texts, and the everyday sentences in each."""


class BenignParameters(FineTuning):
    """Settings of relearning on harmless data."""

    data: Literal["retain", "generic"] = "retain"
    """What is taught: the retain facts, or generated everyday sentences that state no fact."""
    checkpoints: Checkpoints = (10, 20, 40)
    """Optimiser steps at which the facts are asked; K is the mean over them."""


@attack("relearning/benign")
class Benign(RelearningAttack[BenignParameters]):
    """Fine-tuning on data without forgotten facts."""

    summary = (
        "Fine-tune on facts that were to be kept, or on everyday text, and ask what was forgotten."
    )
    details = """
    Nothing that is taught belongs to the forget set. K is the mean over a fixed grid of steps:
    the area under the learning curve, normalised. Steps are relative to the weights, so that their
    scale decides nothing. The training must have lowered the loss of what is taught.
    """
    threat_model = (
        "Anybody who fine-tunes the released model for a purpose of their own, without meaning "
        "harm."
    )
    access = "Weights, or fine-tuning; no forgotten fact."
    cost = "40 steps of 16 examples and three evaluations."
    leak = (
        "K of the forget facts rises on the unlearned model. Unlearning without a retain term "
        "damages what all answers share, and facts of the same form repair it; unlearning with one "
        "leaves little to repair, so this attack can miss what held-out facts show. Everyday text "
        "has another form than most facts and brings back less."
    )
    source = (
        "Benign relearning, arXiv 2406.13356; form rather than topic brings knowledge back, "
        "arXiv 2602.03379; LoRA, arXiv 2106.09685."
    )

    parameters_type = BenignParameters
    effect = "taught_loss"
    presets = (
        Preset("retain", {"data": "retain"}),
        Preset("generic", {"data": "generic"}, "exhaustive"),
        Preset("retain full", {"data": "retain", "method": "full"}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """Taught data, and settings that are not the usual ones."""
        return f"{self.parameters.data} {self.parameters.changed}".strip()

    @property
    def taught(self) -> Message:
        """The retain facts, or text that states none."""
        if self.parameters.data == "generic":
            return message("everyday_sentences_taught")
        return message("retain_facts_taught")

    def forward_tokens(self, evaluation: int) -> int:
        """The training, and an evaluation a checkpoint."""
        steps = self.parameters.checkpoints
        return self.training_tokens(steps[-1]) + (1 + len(steps)) * evaluation

    def texts(self) -> Sequence[str]:
        """The everyday sentences, where they are taught."""
        return generic_texts(_TEXTS, _SENTENCES) if self.parameters.data == "generic" else ()

    def inputs(self) -> Mapping[str, str]:
        """Digest of the everyday sentences, where they are taught."""
        return {"texts": digest(list(texts))} if (texts := self.texts()) else {}

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Teach harmless data and ask all forget facts."""
        settings = self.parameters
        examples = self._examples(model, context.evaluator)
        lesson = readings(
            model,
            context.evaluator,
            examples,
            settings,
            context.seed,
            settings.checkpoints,
            mean_loss(model, examples),
        )
        notes = {
            **recipe(settings, len(examples)),
            "learning_rate": settings.rate,
            "data": settings.data,
            **curve(lesson.readings, context.evaluator),
            "effect": lesson.effect(self.effect),
        }
        return Record(rows=area(lesson.readings), notes=notes)

    def _examples(self, model: LanguageModel, evaluator: TextEvaluator) -> list[Example]:
        if self.parameters.data == "generic":
            limit = model.context_length
            encoded = model.encode([("", text) for text in self.texts()], end=True)
            return encoded if limit is None else [model.shortened(e, limit) for e in encoded]
        if not evaluator.sets.retain:
            raise UnavailableError(
                "there is no retain set to train on; name one in the plan, or use `on: generic`"
            )
        return model.encode(phrasings(evaluator.sets.retain), end=True)
