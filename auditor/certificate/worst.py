"""Facts and entities of which the unlearned model knows most beyond the retrained models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditor.certificate.case import Case, Trial
from auditor.certificate.schema import WorstEntityPart, WorstFactPart

FACTS = 100
"""Facts in a certificate."""
ENTITIES = 100
"""Entities in a certificate."""


@dataclass(frozen=True)
class Excess:
    """What U knows beyond R under every attack that the primary metric decides.

    Other measures have scales of their own, and are not compared.
    """

    trials: Sequence[Trial]
    known: npt.NDArray[np.float64]
    """K as [trials, arms, facts]."""

    @property
    def excess(self) -> npt.NDArray[np.float64]:
        """K_U minus the mean K_R as [trials, facts]."""
        difference: npt.NDArray[np.float64] = self.known[:, 0] - self.known[:, 2:].mean(axis=1)
        return difference


def measured_excess(case: Case) -> Excess | None:
    """What U knows beyond R; None where no attack measured every fact on every arm."""
    measured = []
    for trial in case.trials:
        if trial.status == "measured" and trial.metric == case.metrics[0]:
            table = case.matrix(trial, case.compared, "forget")
            if table is not None:
                measured.append((trial, table))
    if not measured:
        return None
    return Excess([trial for trial, _ in measured], np.stack([table for _, table in measured]))


def worst(
    case: Case, facts: int = FACTS, entities: int = ENTITIES
) -> tuple[tuple[WorstEntityPart, ...], tuple[WorstFactPart, ...]]:
    """Entities and facts by K_U minus the mean K_R, each under the attack that brings out most.

    Args:
        case: the evidence.
        facts: how many are wanted at most; where U knows no more than R, nothing is listed.
        entities: the same for entities.
    """
    found = measured_excess(case)
    if found is None:
        return (), ()
    return _entities(case, found, entities), _facts(case, found, facts)


def _facts(case: Case, found: Excess, count: int) -> tuple[WorstFactPart, ...]:
    strongest = found.excess.argmax(axis=0)
    said: dict[tuple[int, str], dict[str, str]] = {}

    def part(index: int) -> WorstFactPart:
        fact, which = case.sets["forget"][index], int(strongest[index])
        trial = found.trials[which]
        for arm in case.compared:
            if (which, arm) not in said:
                said[which, arm] = case.table.answers(trial.attack, trial.variant, arm, "forget")
        return WorstFactPart(
            fact=fact.id,
            entity=fact.entity,
            prompt=fact.prompt,
            answer=fact.answer,
            attack=trial.label,
            k=by_arm(case, found.known[which, :, index]),
            said={
                arm: said[which, arm][fact.id]
                for arm in case.compared
                if fact.id in said[which, arm]
            },
        )

    return tuple(part(index) for index in _largest(found.excess.max(axis=0), count))


def _entities(case: Case, found: Excess, count: int) -> tuple[WorstEntityPart, ...]:
    names = [fact.entity for fact in case.sets["forget"]]
    order = list(dict.fromkeys(names))
    place = {name: number for number, name in enumerate(order)}
    member = np.array([place[name] for name in names])
    sizes = np.bincount(member)
    known = np.stack(
        [[np.bincount(member, weights=row) / sizes for row in table] for table in found.known]
    )  # [trials, arms, entities]
    means = Excess(found.trials, known)
    strongest = means.excess.argmax(axis=0)
    return tuple(
        WorstEntityPart(
            entity=order[index],
            facts=int(sizes[index]),
            attack=found.trials[strongest[index]].label,
            k=by_arm(case, known[strongest[index], :, index]),
        )
        for index in _largest(means.excess.max(axis=0), count)
    )


def _largest(excess: npt.NDArray[np.float64], count: int) -> list[int]:
    order = np.argsort(-excess, kind="stable")
    return [int(index) for index in order if excess[index] > 0][:count]


def by_arm(case: Case, column: npt.NDArray[np.float64]) -> dict[str, float]:
    """K of each compared arm, from K as [arms]."""
    return {arm: float(k) for arm, k in zip(case.compared, column, strict=True)}
