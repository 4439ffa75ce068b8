"""Knowledge during training: mean over a grid of steps, and the curve."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator

from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import Learner, learner
from auditor.core.records import Row, averaged
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import Example, LanguageModel

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator


def _ascending(steps: tuple[int, ...]) -> tuple[int, ...]:
    if not steps or steps[0] < 1 or any(a >= b for a, b in pairwise(steps)):
        raise ValueError("must be steps in ascending order, the first at least 1")
    return steps


Checkpoints = Annotated[tuple[int, ...], AfterValidator(_ascending)]

Readings = Mapping[int, Sequence[Row]]
"""Rows of the asked facts by optimiser step; step 0 is before the training."""


def primary(evaluator: TextEvaluator) -> TextEvaluator:
    """An evaluator that asks by the primary metric alone."""
    return evaluator.with_metrics([next(iter(evaluator.metrics))])


def readings(
    model: LanguageModel,
    evaluator: TextEvaluator,
    examples: Sequence[Example],
    settings: FineTuning,
    seed: int,
    checkpoints: Sequence[int],
    asked: Collection[str] | None = None,
) -> dict[int, tuple[Row, ...]]:
    """Train a model and evaluate the forget facts at every checkpoint.

    Args:
        model: who is taught; as it was when this returns.
        evaluator: asks at the checkpoints; at step 0 by its primary metric only.
        examples: what is taught.
        settings: how.
        seed: of the order of examples and of LoRA's first matrices.
        checkpoints: optimiser steps, ascending.
        asked: ids of the facts that are asked, by default all.
    """
    return followed(
        learner(model, examples, settings, seed),
        checkpoints,
        lambda: evaluator.evaluate(model, ("forget",), only=asked),
        before=lambda: primary(evaluator).evaluate(model, ("forget",), only=asked),
    )


def followed(
    lesson: AbstractContextManager[Learner[Any]],
    checkpoints: Sequence[int],
    evaluate: Callable[[], tuple[Row, ...]],
    before: Callable[[], tuple[Row, ...]],
) -> dict[int, tuple[Row, ...]]:
    """Train to each checkpoint and evaluate.

    Args:
        lesson: opens the model for training.
        checkpoints: optimiser steps, ascending.
        evaluate: asked at every checkpoint.
        before: asked before the training.
    """
    # before the loan: some kernels lay out their weights anew in their first pass
    found = {0: before()}
    with lesson as taught:
        for step in checkpoints:
            taught.advance(step)
            found[step] = evaluate()
    return found


def joined(parts: Sequence[Readings]) -> dict[int, tuple[Row, ...]]:
    """Readings of several folds as one; all have the same steps."""
    return {step: tuple(row for part in parts for row in part[step]) for step in parts[0]}


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
