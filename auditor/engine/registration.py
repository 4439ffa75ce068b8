"""Registers an audit in the ledger of its store."""

from auditor.core.arms import Arm
from auditor.engine.preparation import Prepared
from auditor.store.base import EvidenceStore
from auditor.store.ledger import Jobs, Ledger


def register(prepared: Prepared, store: EvidenceStore) -> Ledger:
    """Write an audit's policy and jobs into the ledger.

    They are written before anything is measured.

    Raises:
        AuditorError: An audit of the same under another policy has been begun and not finished.
    """
    policy = prepared.plan.policy
    model = prepared.locations[Arm.UNLEARNED].manifest.digest
    ledger = Ledger(store, model, prepared.facts, policy.digest, policy.name)
    ledger.begin(prepared.plan.unlearned.path, planned_jobs(prepared))
    return ledger


def planned_jobs(prepared: Prepared) -> Jobs:
    """Return the keys of planned jobs by attack and arm.

    They are of each attack that can run, by its label, searches first.
    """
    planned: Jobs = {}
    for variant in prepared.variants:
        if prepared.unavailable(variant) is not None:
            continue
        searches = prepared.searches(variant) if variant.attack.searches else {}
        stages = (searches, prepared.measurements(variant, searches))
        planned[variant.label] = {
            arm: tuple(job.key for stage in stages for job in stage.get(arm, ()))
            for arm in prepared.locations
        }
    return planned
