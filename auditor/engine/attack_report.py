"""Report of an attack on its own evidence.

It says why, with what checks, and what beside K.
"""

from collections.abc import Mapping, Sequence

from auditor.attack import AnyAttack
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError
from auditor.core.findings import AttackReport
from auditor.store.base import EvidenceStore


def attack_report(
    attack: AnyAttack, jobs: Mapping[str, Sequence[str]], store: EvidenceStore
) -> AttackReport:
    """Have an attack report on the evidence of its jobs.

    Args:
        attack: with its parameters.
        jobs: arm to keys of its measurements, the first seed first; empty where there are none.
        store: where they are.
    """
    if not jobs:
        return AttackReport()
    arms = sorted(jobs, key=lambda arm: Arm(arm).place)
    notes = {arm: store.notes(jobs[arm][0]) for arm in arms}
    explanation = None
    if {Arm.UNLEARNED, Arm.ORIGINAL} <= jobs.keys():
        compared = (store.read(jobs[arm][0]) for arm in (Arm.UNLEARNED, Arm.ORIGINAL))
        try:
            explanation = attack.explain(*compared)
        except MeasurementError as error:  # the measurement stands, only its reason is missing
            notes["comparison"] = {"not_explained": type(error).__name__}
    return AttackReport(
        notes=notes,
        explanation=explanation,
        self_checks=tuple(attack.self_checks(notes)),
        side_figures=tuple(attack.side_figures(notes)),
        curves=tuple(attack.curves(notes)),
    )
