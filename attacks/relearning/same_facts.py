"""Time in which a model learns again what it should forget."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from attacks.relearning.family import FineTuning, RelearningAttack, phrasings, recipe
from attacks.relearning.learning_curve import curve, known, primary, readings
from attacks.relearning.recovery_time import RecoveryTimes, faster, first_known, speed
from auditor.attack import AttackContext, Preset, attack
from auditor.core.arms import Arm
from auditor.core.findings import SideFigure
from auditor.core.messages import Message, message
from auditor.core.records import Record, Row
from auditor.models.language.model import LanguageModel


class SameFactsParameters(FineTuning):
    """Settings of relearning the forget facts themselves."""

    max_steps: int = Field(default=40, ge=1)
    """Optimiser steps after which the training ends."""
    eval_steps: int = Field(default=4, ge=1)
    """Steps between two evaluations; must divide `max_steps`."""
    known_by: Literal["primary", "exact"] = "primary"
    """A fact counts as known where K of the primary metric reaches the threshold, or where every
    token of the answer is the most probable one."""
    threshold: float = Field(default=0.5, gt=0, le=1)
    """K of the primary metric at which a fact counts as known."""

    @model_validator(mode="after")
    def _whole_intervals(self) -> "SameFactsParameters":
        if self.max_steps % self.eval_steps:
            raise ValueError(
                f"`eval_steps` ({self.eval_steps}) must divide `max_steps` ({self.max_steps})"
            )
        return self


@attack("relearning/same-facts")
class SameFacts(RelearningAttack[SameFactsParameters]):
    """Fine-tuning on the forget set, measured by the time to recover."""

    summary = "Fine-tune on the forgotten facts themselves and see how soon each is known again."
    details = """
    Every arm is taught the same facts in the same order; what only seems forgotten is learned
    sooner than what is new. K of a fact is 1 - t / max_steps, where t is the first checkpoint at
    which it is known: 1 if it is known before any training, 0 if not until the limit. Facts
    that are never known are censored at the limit; the medians beside K are Kaplan-Meier's, and
    the log-rank test asks whether the unlearned model recovers faster. The ratio of medians is
    the anamnesis index of arXiv 2201.05629, with steps until half of the facts are known as the
    time. A retrained model that learns as fast as the limit allows shows nothing: the gap of
    the attack falls, and its gate says so. Steps are relative to the weights, so that their scale
    decides nothing; a model that does not learn the facts, where retrained ones do, has not shown
    that it forgot them.
    """
    threat_model = (
        "Somebody with the weights and the forgotten facts; they gain nothing but the proof that "
        "the model still holds them."
    )
    access = "Weights, or fine-tuning; the forget set."
    cost = "40 steps of 16 examples and eleven evaluations by one metric."
    leak = "The unlearned model knows the facts after fewer steps than a retrained one."
    source = (
        "Relearn time and anamnesis index, arXiv 2201.05629; log-rank test, Mantel 1966; "
        "product-limit estimate, Kaplan and Meier 1958; LoRA, arXiv 2106.09685."
    )

    parameters_type = SameFactsParameters
    presets = (
        Preset("40 steps to K 0.5"),
        Preset("40 steps to K 0.5 full", {"method": "full"}, "exhaustive"),
    )
    metric = "recovery-speed"
    effect = "taught_knowledge"

    @property
    def variant(self) -> str:
        """Limit, criterion, and settings that are not the usual ones."""
        chosen = self.parameters
        by = "exact" if chosen.known_by == "exact" else f"K {chosen.threshold:g}"
        return f"{chosen.max_steps} steps to {by} {chosen.changed}".strip()

    @property
    def taught(self) -> Message:
        """Message that the facts that are asked are taught."""
        return message("asked_facts_taught")

    def forward_tokens(self, evaluation: int) -> int:
        """The training, and an evaluation a checkpoint."""
        checkpoints = 1 + self.parameters.max_steps // self.parameters.eval_steps
        return self.training_tokens(self.parameters.max_steps) + checkpoints * evaluation

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Teach all forget facts and measure how soon each is known."""
        chosen = self.parameters
        if chosen.known_by == "exact":
            asking, threshold = context.evaluator.with_metrics(["exact-memorisation"]), 1.0
        else:
            asking, threshold = primary(context.evaluator), chosen.threshold
        facts = context.facts.forget
        examples = model.encode(phrasings(facts), end=True)
        steps = range(chosen.eval_steps, chosen.max_steps + 1, chosen.eval_steps)
        lesson = readings(
            model,
            asking,
            examples,
            chosen,
            context.seed,
            steps,
            known(model, context.evaluator, facts),
        )
        found = lesson.readings
        learned = [{row.fact for row in rows if row.k >= threshold} for rows in found.values()]
        times = {fact.id: first_known(list(found), learned, fact.id) for fact in facts}
        rows = tuple(
            Row("forget", f.id, f.entity, self.metric, speed(times[f.id], chosen.max_steps), None)
            for f in facts
        )
        counts = Counter(step for step in times.values() if step is not None)
        notes = {
            **recipe(chosen, len(examples)),
            "learning_rate": chosen.rate,
            **curve(found, asking),
            "known_after": [(step, counts[step]) for step in sorted(counts)],
            "never": len(facts) - counts.total(),
            "effect": lesson.effect(self.effect),
        }
        return Record(rows=rows, notes=notes)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Median steps, log-rank p and ratio of medians.

        The latter two set U against each retrained arm.
        """
        times = {arm: self._times(noted) for arm, noted in notes.items() if "never" in noted}
        medians = {arm: t.median for arm, t in times.items()}
        figures = [
            SideFigure("median_steps_until_known", arm, median)
            for arm, median in medians.items()
            if median is not None
        ]
        if Arm.UNLEARNED not in times:
            return figures
        for arm in (arm for arm in times if Arm(arm).is_retrained):
            if (p := faster(times[Arm.UNLEARNED], times[arm])) is not None:
                figures.append(SideFigure("log_rank_p", Arm.UNLEARNED, p, against=arm))
            ours, theirs = medians[Arm.UNLEARNED], medians[arm]
            if ours is not None and theirs:
                index = ours / theirs
                figures.append(SideFigure("anamnesis_index", Arm.UNLEARNED, index, against=arm))
        return figures

    def _times(self, noted: Mapping[str, Any]) -> RecoveryTimes:
        return RecoveryTimes(dict(noted["known_after"]), noted["never"], self.parameters.max_steps)
