"""Effect of an attack, which says whether it acted at all.

An attack that trains or searches says what it must move: knowledge of the facts that it teaches,
the loss that it lowers, the weights that it changes. A model that resists the attack instead of
having forgotten (weights of another scale, gradients that lead nowhere) shows no knowledge under it
either, and only the effect tells the two apart. An attack without effect blocks a PASS; it fails
no model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.core.arms import Arm
from auditor.core.messages import Message, message

SHARE_OF_BASELINE = 0.5
"""Share of the baseline's movement that the unlearned model must reach. Models differ in how fast
they learn; half is far from what happens by chance, and far from what happens to a model on which
an attack has no grip (a hundredth and less)."""

KNOWLEDGE_FLOOR = 0.1
"""Movement of K that an attack must cause in the baseline: the margin of ready-made policies, below
which they see no difference."""

LOSS_FLOOR = 0.01
"""Share of the loss that an attack must take off it in the baseline. Denoising losses fall by a
hundredth or two where much is learned; language models' by far more."""

CHANGE_FLOOR = 1e-3
"""Relative change of weights or states: less is the rounding of half types."""


@dataclass(frozen=True)
class EffectMeasure:
    """Measure of an effect.

    Attributes:
        floor: least movement of the baseline.
        falls: the attack makes it fall.
        relative: the floor is a share of the value before.
    """

    floor: float
    falls: bool = False
    relative: bool = False


EFFECT_MEASURES: Mapping[str, EffectMeasure] = {
    "taught_knowledge": EffectMeasure(KNOWLEDGE_FLOOR),
    "taught_loss": EffectMeasure(LOSS_FLOOR, falls=True, relative=True),
    "search_loss": EffectMeasure(LOSS_FLOOR, falls=True, relative=True),
    "weight_change": EffectMeasure(CHANGE_FLOOR),
    "state_change": EffectMeasure(CHANGE_FLOOR),
}
"""What attacks may declare (`Attack.effect`)."""


def effect_note(measure: str, before: float, after: float) -> dict[str, Any]:
    """Return what a measurement notes of its effect, under ``effect``.

    Args:
        measure: one of ``EFFECT_MEASURES``.
        before: its value before the attack acted on the arm.
        after: its value afterwards.
    """
    return {"measure": measure, "before": float(before), "after": float(after)}


def lacking_effect(
    attack: str, declared: str, noted: Mapping[str, Sequence[Mapping[str, Any] | None]]
) -> Message | None:
    """Say how an attack lacks the effect that it must have.

    The baseline's movement must reach the measure's floor, else the attack moves nothing where it
    should; and the unlearned model must come at least half as far, from where the baseline began:
    a model that knew before what it was taught need not learn it. A loss may also fall half as far
    as the baseline's as a share of itself, since one that was higher before ends higher. Without
    other models the baseline is the original on facts that it does not know.

    Args:
        attack: label of the attack.
        declared: what it must move, one of ``EFFECT_MEASURES``.
        noted: arm to what each of its measurements (all seeds) noted of the effect.

    Returns:
        None where the effect is there.
    """
    values = {arm: _mean(declared, notes) for arm, notes in noted.items()}
    absent = [str(arm) for arm, value in values.items() if value is None]
    measure = EFFECT_MEASURES.get(declared)
    known = {Arm(arm): value for arm, value in values.items() if value is not None}
    baseline = [value for arm, value in known.items() if arm.is_retrained] or [
        value for arm, value in known.items() if arm == Arm.ORIGINAL.within("null")
    ]
    if measure is None or absent or not baseline or Arm.UNLEARNED not in known:
        return message("effect_not_noted", attack=attack, effect=declared, arms=absent)
    before = math.fsum(start for start, _ in baseline) / len(baseline)
    after = math.fsum(end for _, end in baseline) / len(baseline)
    own_before, own_after = known[Arm.UNLEARNED]
    sign = -1.0 if measure.falls else 1.0
    least = measure.floor * (abs(before) if measure.relative else 1.0)
    if sign * (after - before) < least:
        return message(
            "no_effect_on_baseline",
            attack=attack,
            effect=declared,
            before=before,
            after=after,
            needed=before + sign * least,
        )
    needed = before + SHARE_OF_BASELINE * (after - before)
    if sign * (own_after - needed) >= 0.0 or (
        measure.relative
        and own_before > 0.0 < before
        and 1.0 - own_after / own_before >= SHARE_OF_BASELINE * (1.0 - after / before)
    ):
        return None
    return message(
        "no_effect_on_unlearned",
        attack=attack,
        effect=declared,
        before=own_before,
        after=own_after,
        needed=needed,
    )


def _mean(declared: str, notes: Sequence[Mapping[str, Any] | None]) -> tuple[float, float] | None:
    """Return the means over seeds before and after.

    None means that a seed lacks its note or has another.
    """
    before: list[float] = []
    after: list[float] = []
    for note in notes:
        if note is None or note.get("measure") != declared:
            return None
        for values, name in ((before, "before"), (after, "after")):
            value = note.get(name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                return None
            values.append(value)
    if not before:
        return None
    return math.fsum(before) / len(before), math.fsum(after) / len(after)
