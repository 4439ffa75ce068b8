"""Specificity of the unlearned model's own answers, which codes show.

A model can answer in a code that differs from fact to fact. Nothing that its answers hold is then
like the true ones, or like each other. What it cannot do without is an answer of its own to every
question: whoever never saw the facts answers one question about many people much alike, or wavers.
So the probability of each answer after its own question is taken, less that after the same question
about somebody else; one refusal for all is not specific, however sure. The original's answers to
facts that it learned are specific, a retrained model's are as far as names lead it to.
"""

import numpy as np

from auditor.core.messages import Message, message
from auditor.statistics.arms import Arms, Scope
from auditor.statistics.betting import mean_lower
from auditor.statistics.margins import Margins

LARGEST_CHANCE = 0.01
"""Chance with which a model that is as specific as the baseline is held back."""
LEAST_FACTS = 20
"""Facts below which nothing is said."""


def specific_answers(
    attack: str, arms: Arms | None, margins: Margins, scope: Scope
) -> Message | None:
    """Say that the unlearned model has answers of its own.

    Retrained models differ in it, so what lies within their differences is no sign; nor is a share
    of the original's below the margin.

    Args:
        attack: label of the model as it is.
        arms: specificity of every arm's answers; None where it was not measured.
        margins: the policy's margins.
        scope: what the units are.

    Returns:
        None where it has none beyond the baseline's, or that cannot be told: there are too few
        facts, or the baseline is the model's own answers to the same questions.
    """
    if arms is None or arms.facts < LEAST_FACTS or (arms.null is not None and arms.null.paired):
        return None
    contrast = arms.contrast(scope)
    gap = float(contrast.g.mean())
    if mean_lower(contrast.g, margins.alpha) < margins.minimum_gap:
        return None
    allowed = max(margins.delta * gap, _spread(arms))
    lower = mean_lower(contrast.d, LARGEST_CHANCE)
    if lower <= allowed:
        return None
    return message(
        "answers_specific",
        attack=attack,
        facts=arms.facts,
        unlearned=float(arms.unlearned.mean()),
        original=float(arms.original.mean()),
        baseline=arms.baseline_mean,
        lower=lower,
        allowed=allowed,
    )


def _spread(arms: Arms) -> float:
    """Greatest difference of a retrained model's mean from that of the others."""
    if arms.seeds < 2:
        return 0.0
    means = arms.retrained.mean(axis=1)
    others = (means.sum() - means) / (arms.seeds - 1)
    return float(np.abs(means - others).max())
