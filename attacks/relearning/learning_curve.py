"""Knowledge during training: its mean and its curve.

The mean is over a grid of steps; what was taught is here, too.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator

from attacks.relearning.family import MOST_TAUGHT, FineTuning, spread
from attacks.relearning.fine_tuning import Learner, learner
from auditor.core.facts import Fact
from auditor.core.records import Row, averaged
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import Example, LanguageModel
from auditor.statistics.effect import effect_note

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator


def _ascending(steps: tuple[int, ...]) -> tuple[int, ...]:
    if not steps or steps[0] < 1 or any(a >= b for a, b in pairwise(steps)):
        raise ValueError("must be steps in ascending order, the first at least 1")
    return steps


Checkpoints = Annotated[tuple[int, ...], AfterValidator(_ascending)]

Readings = Mapping[int, Sequence[Row]]
"""Rows of the asked facts by optimiser step; step 0 is before the training."""


@dataclass(frozen=True)
class Lesson:
    """Result of a training.

    Attributes:
        readings: rows of the asked facts by optimiser step.
        before: measure of what is taught, before the training.
        after: the same after the last step.
    """

    readings: Readings
    before: float
    after: float

    def effect(self, measure: str) -> dict[str, Any]:
        """Note of a measurement on the training's effect."""
        return effect_note(measure, self.before, self.after)


def primary(evaluator: TextEvaluator) -> TextEvaluator:
    """An evaluator that asks by the primary metric alone."""
    return evaluator.with_metrics([next(iter(evaluator.metrics))])


def known(
    model: LanguageModel, evaluator: TextEvaluator, facts: Sequence[Fact]
) -> Callable[[], float]:
    """Return a function that gives the mean K of some facts.

    They are facts of the forget set, by the primary metric.

    Args:
        model: model that is asked.
        evaluator: the audit's.
        facts: facts of which a few are asked.
    """
    asking = primary(evaluator)
    few = {fact.id for fact in spread(facts, MOST_TAUGHT)}
    return lambda: float(np.mean([r.k for r in asking.evaluate(model, ("forget",), only=few)]))


def mean_loss(model: LanguageModel, examples: Sequence[Example]) -> Callable[[], float]:
    """Return a function that gives the mean loss of examples.

    They are a few of the training examples; the unit is nats per token.
    """
    few = spread(examples, MOST_TAUGHT)

    @torch.no_grad()
    def loss() -> float:
        return float(np.mean([float(model.loss([example])) for example in few]))

    return loss


def readings(
    model: LanguageModel,
    evaluator: TextEvaluator,
    examples: Sequence[Example],
    settings: FineTuning,
    seed: int,
    checkpoints: Sequence[int],
    taught: Callable[[], float],
    asked: Collection[str] | None = None,
    rate: float | None = None,
) -> Lesson:
    """Train a model and evaluate the forget facts at every checkpoint.

    Args:
        model: model that is taught; as it was when this returns.
        evaluator: asks at the checkpoints; at step 0 by its primary metric only.
        examples: what is taught.
        settings: how.
        seed: seed of the order of examples and of LoRA's first matrices.
        checkpoints: optimiser steps, ascending.
        taught: measures what is taught.
        asked: ids of the facts that are asked, by default all.
        rate: learning rate, by default that of the settings.
    """
    return followed(
        learner(model, examples, settings, seed, rate),
        checkpoints,
        lambda: evaluator.evaluate(model, ("forget",), only=asked),
        before=lambda: primary(evaluator).evaluate(model, ("forget",), only=asked),
        taught=taught,
    )


def followed(
    lesson: AbstractContextManager[Learner[Any]],
    checkpoints: Sequence[int],
    evaluate: Callable[[], tuple[Row, ...]],
    before: Callable[[], tuple[Row, ...]],
    taught: Callable[[], float],
) -> Lesson:
    """Train to each checkpoint and evaluate.

    Args:
        lesson: opens the model for training.
        checkpoints: optimiser steps, ascending.
        evaluate: asked at every checkpoint.
        before: asked before the training.
        taught: measures what is taught, before and after the training.
    """
    # before the loan: some kernels lay out their weights anew in their first pass
    found = {0: before()}
    untaught = taught()
    with lesson as pupil:
        for step in checkpoints:
            pupil.advance(step)
            found[step] = evaluate()
        return Lesson(found, untaught, taught())


def joined(parts: Sequence[Lesson]) -> Lesson:
    """Trainings of several folds as one; all have the same steps."""
    return Lesson(
        {
            step: tuple(row for part in parts for row in part.readings[step])
            for step in parts[0].readings
        },
        float(np.mean([part.before for part in parts])),
        float(np.mean([part.after for part in parts])),
    )


def area(readings: Readings) -> tuple[Row, ...]:
    """Mean K of each fact and metric over the checkpoints.

    Step 0 is left out.

    It is the area under the learning curve, normalised; no checkpoint is chosen afterwards.
    """
    return averaged([rows for step, rows in readings.items() if step > 0])


def curve(readings: Readings, evaluator: "TextEvaluator | ImageEvaluator") -> dict[str, Any]:
    """Notes of the curve: steps with mean K, and its metric.

    Step 0 is included; the metric is the evaluator's primary one.
    """
    metric = next(iter(evaluator.metrics))
    means = [
        (step, float(np.mean([row.k for row in rows if row.metric == metric])))
        for step, rows in readings.items()
    ]
    return {"curve": means, "metric": metric}
