"""Facts and entities of which the unlearned model knows most.

Its knowledge is counted beyond that of the retrained models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.parts import ByArm
from auditor.certificate.schema import WorstEntityPart, WorstFactPart
from auditor.core.arms import Arm
from auditor.statistics import AttackEvidence

FACTS = 100
"""Most facts that a certificate lists."""
ENTITIES = 100
"""Most entities that a certificate lists."""


@dataclass(frozen=True)
class Excess:
    """K of U beyond R, by every reading of a deciding metric.

    The deciding metrics are those of the plan.

    Attacks with a measure of their own have a scale of their own, and are not compared.
    """

    attacks: Sequence[AttackEvidence]
    """The attack of each reading."""
    metrics: Sequence[str]
    """The metric of each reading."""
    known: npt.NDArray[np.float64]
    """K as [readings, arms, facts]."""
    excess: npt.NDArray[np.float64]
    """K_U minus the baseline's K as [readings, facts]."""


def measured_excess(inputs: DecisionInputs, metrics: Sequence[str]) -> Excess | None:
    """Return what U knows beyond R, or None if unmeasured.

    None means that no attack measured every fact on every arm.

    Args:
        inputs: the evidence.
        metrics: metrics whose readings are wanted.
    """
    measured = [
        (attack, reading.metric, reading.arms)
        for attack in inputs.attacks
        for reading in attack.readings
        if reading.arms is not None and reading.metric in metrics
    ]
    if not measured:
        return None
    return Excess(
        attacks=[attack for attack, *_ in measured],
        metrics=[name for _, name, _ in measured],
        known=np.stack([np.stack([a.unlearned, a.original, *a.retrained]) for *_, a in measured]),
        excess=np.stack([arms.fact_contrast().d for *_, arms in measured]),
    )


def worst(
    inputs: DecisionInputs, facts: int = FACTS, entities: int = ENTITIES
) -> tuple[tuple[WorstEntityPart, ...], tuple[WorstFactPart, ...]]:
    """Return entities and facts sorted by K_U minus mean K_R.

    Each stands under the attack that brings out most of it.

    Args:
        inputs: the evidence.
        facts: how many are wanted at most; where U knows no more than R, nothing is listed.
        entities: the same for entities.
    """
    found = measured_excess(inputs, inputs.deciding)
    if found is None:
        return (), ()
    return _entities(inputs, found, entities), _facts(inputs, found, facts)


def _facts(inputs: DecisionInputs, found: Excess, count: int) -> tuple[WorstFactPart, ...]:
    strongest = found.excess.argmax(axis=0)
    said: dict[tuple[int, str], dict[str, str]] = {}
    released = inputs.table.answers(inputs.as_is.id, Arm.UNLEARNED, "forget")

    def part(index: int) -> WorstFactPart:
        fact, which = inputs.sets["forget"][index], int(strongest[index])
        attack = found.attacks[which].id
        for arm in inputs.arms:
            if (which, arm) not in said:
                said[which, arm] = inputs.table.answers(attack, arm, "forget")
        return WorstFactPart(
            fact=fact.id,
            entity=fact.entity,
            prompt=fact.prompt,
            answer=fact.answer,
            attack=attack.label,
            metric=found.metrics[which],
            k=by_arm(inputs, found.known[which, :, index]),
            said={
                arm: said[which, arm][fact.id] for arm in inputs.arms if fact.id in said[which, arm]
            },
            said_as_released=released.get(fact.id),
        )

    return tuple(part(index) for index in _largest(found.excess.max(axis=0), count))


def _entities(inputs: DecisionInputs, found: Excess, count: int) -> tuple[WorstEntityPart, ...]:
    names = [fact.entity for fact in inputs.sets["forget"]]
    order = list(dict.fromkeys(names))
    place = {name: number for number, name in enumerate(order)}
    member = np.array([place[name] for name in names])
    sizes = np.bincount(member)

    def mean(row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(member, weights=row) / sizes

    known = np.stack([[mean(row) for row in table] for table in found.known])
    means = Excess(found.attacks, found.metrics, known, np.stack([*map(mean, found.excess)]))
    strongest = means.excess.argmax(axis=0)
    return tuple(
        WorstEntityPart(
            entity=order[index],
            facts=int(sizes[index]),
            attack=found.attacks[strongest[index]].id.label,
            metric=found.metrics[strongest[index]],
            k=by_arm(inputs, known[strongest[index], :, index]),
        )
        for index in _largest(means.excess.max(axis=0), count)
    )


def _largest(excess: npt.NDArray[np.float64], count: int) -> list[int]:
    order = np.argsort(-excess, kind="stable")
    return [int(index) for index in order if excess[index] > 0][:count]


def by_arm(inputs: DecisionInputs, column: npt.NDArray[np.float64]) -> ByArm:
    """K of each arm, from K as [arms]."""
    return {str(arm): float(k) for arm, k in zip(inputs.arms[: len(column)], column, strict=True)}
