"""Effect of an attack on what it was given: whether it acted at all.

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

LOSS_FLOOR = 0.05
"""Share of the loss that an attack must take off it in the baseline. The loss of a batch moves by
about a hundredth where nothing is learned."""

CHANGE_FLOOR = 1e-3
"""Relative change of weights or states: less is the rounding of half types."""


@dataclass(frozen=True)
class EffectMeasure:
    """What an effect is measured by.

    Attributes:
        floor: least movement of the baseline.
        falls: the attack makes it fall.
        relative: the floor is a share of the value before.
        own: the unlearned model must reach the floor itself, whatever the baseline does.
    """

    floor: float
    falls: bool = False
    relative: bool = False
    own: bool = False


EFFECT_MEASURES: Mapping[str, EffectMeasure] = {
    "taught_knowledge": EffectMeasure(KNOWLEDGE_FLOOR),
    "taught_loss": EffectMeasure(LOSS_FLOOR, falls=True, relative=True),
    "search_loss": EffectMeasure(LOSS_FLOOR, falls=True, relative=True),
    "weight_change": EffectMeasure(CHANGE_FLOOR),
    "rounding_change": EffectMeasure(CHANGE_FLOOR, own=True),
    "state_change": EffectMeasure(CHANGE_FLOOR),
}
"""What attacks may declare (`Attack.effect`). Weights that retrained models and the original hold
on the grid of a quantizer already do not change by rounding, so those of the unlearned model
must."""


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
    a model that knew before what it was taught need not learn it.

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
    baseline = [value for arm, value in known.items() if arm.is_retrained]
    if measure is None or absent or not baseline or Arm.UNLEARNED not in known:
        return message("effect_not_noted", attack=attack, measure=declared, arms=absent)
    before = math.fsum(start for start, _ in baseline) / len(baseline)
    after = math.fsum(end for _, end in baseline) / len(baseline)
    own_before, own_after = known[Arm.UNLEARNED]
    sign = -1.0 if measure.falls else 1.0
    floor = measure.floor * (abs(before) if measure.relative else 1.0)
    if measure.own:
        start, needed = own_before, floor
    else:
        start, needed = before, max(SHARE_OF_BASELINE * sign * (after - before), 0.0)
        if not sign * (after - before) >= floor:
            return message(
                "no_effect_on_baseline",
                attack=attack,
                measure=declared,
                before=before,
                after=after,
                needed=before + sign * floor,
            )
    if sign * (own_after - start) >= needed:
        return None
    return message(
        "no_effect_on_unlearned",
        attack=attack,
        measure=declared,
        before=own_before,
        after=own_after,
        needed=start + sign * needed,
    )


def _mean(declared: str, notes: Sequence[Mapping[str, Any] | None]) -> tuple[float, float] | None:
    """Mean over seeds before and after; None where any lacks its note or has another."""
    pairs = []
    for note in notes:
        if note is None or note.get("measure") != declared:
            return None
        pair = (note.get("before"), note.get("after"))
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in pair):
            return None
        pairs.append(pair)
    if not pairs:
        return None
    return tuple(math.fsum(column) / len(pairs) for column in zip(*pairs, strict=True))  # type: ignore[return-value]
