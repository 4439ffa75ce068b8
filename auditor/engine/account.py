"""What an attack says of its own evidence: why, with what checks, and what beside K."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.attack import AnyAttack
from auditor.core.errors import MeasurementError
from auditor.core.findings import Control, Curve, Explanation, SideFigure
from auditor.evidence.store import EvidenceStore


@dataclass(frozen=True)
class Account:
    """Worked out from stored evidence, and nothing else."""

    notes: Mapping[str, dict[str, Any]]
    """Arm to what its measurement noted (first seed)."""
    explanation: Explanation | None
    controls: Sequence[Control]
    """The attack's checks of its own evidence."""
    side_figures: Sequence[SideFigure]
    curves: Sequence[Curve]


NO_ACCOUNT = Account({}, None, (), (), ())
"""Of an attack that left no evidence."""


def account(attack: AnyAttack, jobs: Mapping[str, Sequence[str]], store: EvidenceStore) -> Account:
    """What an attack says of the evidence of its jobs.

    Args:
        attack: with its parameters.
        jobs: arm to keys of its measurements, the first seed first.
        store: where they are.
    """
    notes = {arm: store.notes(jobs[arm][0]) for arm in sorted(jobs, key=_place)}
    explanation = None
    if {"unlearned", "original"} <= jobs.keys():
        compared = (store.read(jobs[arm][0]) for arm in ("unlearned", "original"))
        try:
            explanation = attack.explain(*compared)
        except MeasurementError as error:  # the measurement stands, only its reason is missing
            notes["comparison"] = {"not explained": str(error)}
    return Account(
        notes=notes,
        explanation=explanation,
        controls=tuple(attack.controls(notes)),
        side_figures=tuple(attack.side_figures(notes)),
        curves=tuple(attack.curves(notes)),
    )


def _place(arm: str) -> tuple[int, int]:
    """Sort key of the arms as a plan has them; a certificate read back may have another order."""
    _, _, number = arm.partition("-")
    return {"unlearned": 0, "original": 1}.get(arm, 2), int(number or 0)
