"""Utility: a broken model forgets everything, and passes nothing."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from auditor.statistics.arms import Scope, check_scope, entity_means, knowledge
from auditor.statistics.betting import FloatArray, log_e_value, log_threshold
from auditor.statistics.margins import Margins

UtilityState = Literal["kept", "lost", "undetermined"]


@dataclass(frozen=True, eq=False)
class Utility:
    """Knowledge K in [0, 1] of the retain set, without attack.

    The facts are the same, in one order.

    Attributes:
        unlearned: the model under audit [m].
        original: the model before unlearning [m].
        entities: the entity of each fact [m]; used in sampled scope where it is given.

    Raises:
        ValueError: a value that is not finite or leaves [0, 1], or lengths that differ.
    """

    unlearned: FloatArray
    original: FloatArray
    entities: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        unlearned = knowledge(self.unlearned, "retain-set unlearned", 1)
        original = knowledge(self.original, "retain-set original", 1)
        if unlearned.size != original.size:
            raise ValueError(
                "the arms must hold the same retain facts: unlearned has "
                f"{unlearned.size}, original {original.size}"
            )
        if self.entities is not None:
            object.__setattr__(self, "entities", tuple(self.entities))
            if len(self.entities) != unlearned.size:
                raise ValueError(f"{len(self.entities)} entities for {unlearned.size} retain facts")
        object.__setattr__(self, "unlearned", unlearned)
        object.__setattr__(self, "original", original)


@dataclass(frozen=True)
class UtilityAssessment:
    """Whether the retain set survived, by a one-sided non-inferiority test.

    Attributes:
        state: kept, lost or undetermined.
        facts: number of retain facts m.
        units: number of units the test ran on: facts, or entities.
        mean_unlearned: mean K of the unlearned model.
        mean_original: mean K of the original model.
        log_e_kept: log e-value for K_unlearned above (1 - margin) of K_original.
        log_e_lost: log e-value for the contrary.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    state: UtilityState
    facts: int
    units: int
    mean_unlearned: float
    mean_original: float
    log_e_kept: float
    log_e_lost: float


def assess_utility(utility: Utility, margins: Margins, scope: Scope) -> UtilityAssessment:
    """Tests whether the unlearned model keeps (1 - utility_margin) of retain-set knowledge."""
    check_scope(scope)
    loss = (1.0 - margins.utility_margin) * utility.original - utility.unlearned
    if scope == "sampled" and utility.entities is not None:
        loss = entity_means(loss, utility.entities)
    log_e_kept, log_e_lost = log_e_value(loss), log_e_value(-loss)
    threshold = log_threshold(margins.alpha)
    state: UtilityState = "undetermined"
    if log_e_kept >= threshold:
        state = "kept"
    elif log_e_lost >= threshold:
        state = "lost"
    return UtilityAssessment(
        state=state,
        facts=utility.unlearned.size,
        units=loss.size,
        mean_unlearned=float(np.mean(utility.unlearned)),
        mean_original=float(np.mean(utility.original)),
        log_e_kept=log_e_kept,
        log_e_lost=log_e_lost,
    )
