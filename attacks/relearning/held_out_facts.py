"""Retraining on some of the forgotten facts brings back the others (RTT)."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from attacks.relearning.family import FineTuning, RelearningAttack, phrasings, recipe
from attacks.relearning.fine_tuning import learner
from attacks.relearning.learning_curve import (
    Checkpoints,
    Lesson,
    area,
    curve,
    joined,
    known,
    readings,
)
from attacks.relearning.rates import Trial, chosen_rate
from auditor.attack import AttackContext, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.messages import Message, message
from auditor.core.records import Record
from auditor.core.roles import ControlKind
from auditor.data.folds import Fold, SplitBy, folds
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import Example, LanguageModel


class HeldOutFactsParameters(FineTuning):
    """Settings of relearning on part of the forget facts."""

    grids: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "lora": (2e-4, 6e-4, 2e-3),
        "full": (2e-5, 6e-5, 2e-4),
    }
    """Learning rates that a plan need not give, by method."""

    learning_rate: float | None = Field(default=None, gt=0)
    """The one learning rate, instead of several."""
    learning_rates: tuple[float, ...] | None = Field(default=None, min_length=1)
    """Constant learning rates of Adam, relative to the weights, that are tried on every arm; by
    default 2e-4, 6e-4 and 2e-3 with LoRA, and a tenth of them without."""
    split: SplitBy = "attribute"
    """`attribute`: some facts of every entity are taught and its other facts are asked. `entity`:
    all facts of some entities are taught and those of the others are asked. `half`: half of the
    facts are taught whatever their entities, for facts that name none."""
    checkpoints: Checkpoints = (10, 20, 40)
    """Optimiser steps at which the facts are asked; K is the mean over them."""

    @model_validator(mode="after")
    def _rates(self) -> Self:
        if self.learning_rates is None:
            return self
        if self.learning_rate is not None:
            raise ValueError("give `learning_rate` or `learning_rates`, not both")
        if min(self.learning_rates) <= 0:
            raise ValueError("`learning_rates` must be above 0")
        return self

    @property
    def grid(self) -> tuple[float, ...]:
        """Learning rates that are tried."""
        if self.learning_rate is not None:
            return (self.learning_rate,)
        return self.learning_rates or self.grids[self.method]

    @property
    def changed_rate(self) -> str:
        """The learning rates in words; empty where they are the usual ones."""
        if self.grid == self.grids[self.method]:
            return ""
        word = "rate" if len(self.grid) == 1 else "rates"
        return f"{word} {' '.join(f'{rate:g}' for rate in self.grid)}"


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

    No arm is trained with less effect than another. Steps are relative to the weights: rows and
    columns of every matrix are brought to one size first (Sinkhorn and Knopp 1967), and those of
    a head to an orthonormal basis, so that a rescaling or a mixing which changes no answer
    changes no step either. Each half is taught at several
    learning rates, and the lowest one that teaches it nearly as well as the best is taken, by the
    taught facts alone; then it is taught once more, and the other half is asked. Where the
    unlearned model learns what it is taught less than half as well as a retrained one, the attack
    has had no grip on it, and there is no PASS.

    A model that was trained against this attack gives little back in its first steps. One level
    trains four times as long, at one rate, and asks at the end alone.
    """
    threat_model = (
        "Somebody with the weights, or with a fine-tuning service, who knows a part of what was "
        "removed and wants the rest."
    )
    access = "Weights, or fine-tuning; part of the forget set."
    cost = (
        "40 steps of 16 examples for each half at up to three learning rates, once more at the "
        "chosen one, and three evaluations."
    )
    leak = (
        "K of facts that were not taught rises on the unlearned model, and not on a retrained one."
    )
    source = (
        "Retraining on T, arXiv 2410.08827; LoRA, arXiv 2106.09685; equilibration, Sinkhorn and "
        "Knopp 1967."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = HeldOutFactsParameters
    effect = "taught_knowledge"
    presets = (
        Preset(
            "by attribute",
            {"split": "attribute"},
            "quick",
            mandatory=True,
            without_entities="by half",
        ),
        Preset(
            "by attribute full",
            {"split": "attribute", "method": "full"},
            "quick",
            without_entities="by half full",
        ),
        Preset("by entity", {"split": "entity"}, without_entities="by half"),
        Preset(
            "by entity full",
            {"split": "entity", "method": "full"},
            "exhaustive",
            without_entities="by half full",
        ),
        Preset("by half", {"split": "half"}, "exhaustive"),
        Preset("by half full", {"split": "half", "method": "full"}, "exhaustive"),
        Preset(
            "by half full rate 0.0001",
            {"split": "half", "method": "full", "learning_rate": 1e-4, "checkpoints": (160,)},
        ),
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
        """Tokens of all trainings and of all checkpoints, at most.

        Every half is taught once at each rate that is tried, and once more at the chosen one; each
        checkpoint asks all facts, half of them at a time.
        """
        steps, tried = self.parameters.checkpoints, len(self.parameters.grid)
        trainings = 2 * (tried + 1 if tried > 1 else 1)
        return trainings * self.training_tokens(steps[-1]) + (1 + len(steps)) * evaluation

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Teach each half and ask the other."""
        settings = self.parameters
        parts: list[Lesson] = []
        rates: list[float] = []
        trials: list[Sequence[Trial]] = []
        examples = 0
        for fold in self._folds(context.evaluator):
            encoded = model.encode(phrasings(fold.given), end=True)
            taught = known(model, context.evaluator, fold.given)
            tried = self._tried(model, encoded, context.seed, taught)
            rates.append(tried[-1].rate if tried else settings.grid[0])
            trials.append(tried)
            parts.append(
                readings(
                    model,
                    context.evaluator,
                    encoded,
                    settings,
                    context.seed,
                    settings.checkpoints,
                    taught,
                    {fact.id for fact in fold.asked},
                    rates[-1],
                )
            )
            examples += len(encoded)
        lesson = joined(parts)
        notes = {
            **recipe(settings, examples),
            "split": settings.split,
            "learning_rates": rates,
            "tried": [[(trial.rate, trial.taught) for trial in tried] for tried in trials],
            **curve(lesson.readings, context.evaluator),
            "effect": lesson.effect(self.effect),
        }
        return Record(rows=area(lesson.readings), notes=notes)

    def _tried(
        self,
        model: LanguageModel,
        examples: Sequence[Example],
        seed: int,
        taught: Callable[[], float],
    ) -> tuple[Trial, ...]:
        """Return the trial of each rate, the chosen one last.

        It is empty where there is one rate alone.
        """
        settings = self.parameters
        if len(settings.grid) == 1:
            return ()

        def attempt(rate: float) -> float:
            with learner(model, examples, settings, seed, rate) as pupil:
                pupil.advance(settings.checkpoints[-1])
                return taught()

        return chosen_rate(attempt, settings.grid)

    def _folds(self, evaluator: TextEvaluator) -> tuple[Fold, ...]:
        try:
            return folds(evaluator.sets.forget, self.parameters.split)
        except ValueError as error:
            raise UnavailableError(
                f"{error}; name the facts' entities (`fields: {{entity: …}}`), or split by "
                f"{'entity' if self.parameters.split == 'attribute' else 'attribute'} or half"
            ) from error
