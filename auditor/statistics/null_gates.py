"""Conditions under which a model's knowledge of other facts is its baseline.

The facts that stand for what is not known must be as hard to guess as those to forget, and the
unlearned model must know no more of them than a model that does not know them: a model that was
taught them, too, would raise its own baseline.
"""

from auditor.core.messages import Message, message
from auditor.statistics.arms import Arms
from auditor.statistics.margins import Margins

LEAST_NULL_FACTS = 20
"""Facts below which nothing is said against such a baseline."""
SHARE_OF_DELTA = 0.5
"""Share of the margin, in units of the gap, by which a baseline may be off."""


def uneven_null(attack: str, metric: str, arms: Arms, margins: Margins) -> Message | None:
    """Say that facts to forget are easier to guess than others.

    The others stand for what is not known. It is seen on facts or models to which neither are
    known. Then the reading decides nothing.

    Args:
        attack: label of the attack.
        metric: measure of K.
        arms: what was measured.
        margins: the policy's margins.

    Returns:
        None where it is not so, or there are models as baseline.
    """
    null = arms.null
    if null is None:
        return None
    if null.unlearned.size < LEAST_NULL_FACTS:
        return message(
            "null_too_small",
            attack=attack,
            metric=metric,
            facts=null.unlearned.size,
            needed=LEAST_NULL_FACTS,
        )
    if null.advantage is None:
        return message("null_not_checked", attack=attack, metric=metric) if null.paired else None
    allowed = _allowed(arms, margins)
    if abs(null.advantage) <= allowed:
        return None
    return message(
        "null_easier_to_guess",
        attack=attack,
        metric=metric,
        advantage=null.advantage,
        allowed=allowed,
    )


def raised_null(attack: str, metric: str, arms: Arms, margins: Margins) -> Message | None:
    """Say that the unlearned model knows its null.

    It would hide as much residual knowledge. A FAIL is none the less one.

    Args:
        attack: label of the attack.
        metric: measure of K.
        arms: what was measured.
        margins: the policy's margins.

    Returns:
        None where it does not, or there are models as baseline.
    """
    null = arms.null
    if null is None or null.level is None:
        return None
    known, allowed = float(null.unlearned.mean()), _allowed(arms, margins)
    if known - null.level <= allowed:
        return None
    return message(
        "null_raised",
        attack=attack,
        metric=metric,
        known=known,
        level=null.level,
        allowed=allowed,
    )


def _allowed(arms: Arms, margins: Margins) -> float:
    gap = float(arms.fact_contrast().g.mean())
    return SHARE_OF_DELTA * margins.delta * max(gap, 0.0)
