"""Registers an audit in the ledger of its store."""

from collections.abc import Iterable

from auditor.core.arms import Arm
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import digest
from auditor.core.messages import Message, message
from auditor.core.time import utc_text
from auditor.engine.preparation import Prepared
from auditor.engine.shared_plan import shared_plan
from auditor.store.base import EvidenceStore
from auditor.store.history import History, PastAudit
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
    ledger.begin(prepared.plan.unlearned.path, planned_jobs(prepared), prepared.read)
    _history(prepared, store).note(_noted(prepared))
    return ledger


def earlier_audits(prepared: Prepared, store: EvidenceStore) -> tuple[PastAudit, ...]:
    """Return earlier audits of the model on other facts or seeds."""
    return _history(prepared, store).before(_noted(prepared))


def history_warnings(
    sets: FactSets, store: EvidenceStore, earlier: Iterable[str]
) -> tuple[Message, ...]:
    """Say that the model was audited before on other facts or seeds.

    Args:
        sets: Facts of this audit.
        store: Where the facts of the other audits are.
        earlier: Digests of the facts of the other audits.

    Raises:
        EvidenceChangedError: Facts of another audit were changed, or are not there.
    """
    others = tuple(earlier)
    if not others:
        return ()
    here, elsewhere = _said(sets.forget), _said((*sets.retain, *sets.holdout))
    asked = (_said(store.facts(facts).forget) for facts in others)
    dropped = set().union(*asked) - here
    return (
        message(
            "audited_before",
            audits=len(others),
            dropped=len(dropped),
            moved=len(dropped & elsewhere),
        ),
    )


def _said(facts: Iterable[Fact]) -> set[tuple[str, str]]:
    return {(fact.prompt, fact.answer) for fact in facts}


def _history(prepared: Prepared, store: EvidenceStore) -> History:
    return History(store, prepared.locations[Arm.UNLEARNED].manifest.digest)


def _noted(prepared: Prepared) -> PastAudit:
    plan = prepared.plan
    return PastAudit(
        plan=digest(shared_plan(plan)),
        policy=plan.policy.digest,
        facts=prepared.facts,
        seeds=plan.attack_seeds,
        at=utc_text(),
    )


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
