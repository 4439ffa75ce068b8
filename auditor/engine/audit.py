"""A whole audit: every attack on every arm, search before measurement, evidence gathered."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from auditor.core.progress import Progress
from auditor.engine.account import NO_ACCOUNT, Account, account
from auditor.engine.execution import Failure
from auditor.engine.executors.base import Executor, LabelledJob
from auditor.engine.expansion import Variant
from auditor.engine.job import Job
from auditor.engine.preparation import Prepared
from auditor.evidence.store import EvidenceStore
from auditor.evidence.table import Evidence, EvidenceTable

Status = Literal["measured", "failed", "unavailable"]


@dataclass(frozen=True)
class VariantOutcome:
    """What became of one variant."""

    variant: Variant
    status: Status
    reason: str | None
    jobs: Mapping[str, Sequence[str]]
    """Arm to keys of its finished measurements."""
    account: Account
    """What the attack says of that evidence."""
    forward_tokens: int
    """Of its measurements and its searches; a search that variants share counts with each."""
    seconds: float


@dataclass(frozen=True)
class AuditOutcome:
    """All that a certificate is made from."""

    prepared: Prepared
    variants: list[VariantOutcome]
    table: EvidenceTable
    seals: dict[str, str]
    """Job key to the digest of its evidence."""
    started: datetime
    wall_seconds: float


def run_audit(
    prepared: Prepared,
    store: EvidenceStore,
    executor: Executor,
    progress: Progress,
    arms: Sequence[str] | None = None,
) -> AuditOutcome:
    """Run what the store does not hold, then gather the evidence.

    Args:
        prepared: the plan and its checked inputs.
        store: where finished jobs are.
        executor: runs the others.
        progress: is told how far it has come.
        arms: only these arms, by default all.
    """
    started, began = datetime.now(UTC), time.monotonic()
    reasons = {v.label: prepared.unavailable(v) for v in prepared.variants}
    runnable = [v for v in prepared.variants if reasons[v.label] is None]
    chosen = tuple(arms or prepared.locations)

    searches = {v.label: prepared.searches(v) for v in runnable if v.attack.searches}
    failures = dict(executor.run(_labelled(searches, chosen), prepared.models, store, progress))
    measures = {
        v.label: prepared.measurements(v, _only(searches.get(v.label, {}), chosen))
        for v in runnable
        if not _failed(searches.get(v.label, {}), failures, chosen)
    }
    failures |= executor.run(_labelled(measures, chosen), prepared.models, store, progress)

    evidence: list[Evidence] = []
    seals: dict[str, str] = {}
    outcomes = []
    for variant in prepared.variants:
        label = variant.label
        reason, status = reasons[label], "unavailable"
        if reason is None:
            failed = _failed(searches.get(label, {}), failures, chosen) or _failed(
                measures.get(label, {}), failures, chosen
            )
            if failed:
                arm, failure = failed
                reason = f"{failure.reason} (on {arm})"
                status = "unavailable" if failure.unavailable else "failed"
        if reason is not None:
            outcomes.append(_without_evidence(variant, status, reason))
            continue
        found = _only(searches.get(label, {}), chosen)
        outcomes.append(_gather(variant, measures[label], found, chosen, store, evidence, seals))
    return AuditOutcome(
        prepared, outcomes, EvidenceTable(evidence), seals, started, time.monotonic() - began
    )


def _labelled(
    jobs: Mapping[str, Mapping[str, list[Job]]], arms: Sequence[str]
) -> list[LabelledJob]:
    return [
        LabelledJob(f"{label} on {arm}", job)
        for label, by_arm in jobs.items()
        for arm in arms
        for job in by_arm[arm]
    ]


def _only(by_arm: Mapping[str, list[Job]], arms: Sequence[str]) -> dict[str, list[Job]]:
    return {arm: by_arm[arm] for arm in arms if arm in by_arm}


def _failed(
    by_arm: Mapping[str, list[Job]], failures: Mapping[str, Failure], arms: Sequence[str]
) -> tuple[str, Failure] | None:
    """The first arm of a variant that has no evidence, and why."""
    for arm in arms:
        for job in by_arm.get(arm, []):
            if job.key in failures:
                return arm, failures[job.key]
    return None


def _without_evidence(variant: Variant, status: str, reason: str) -> VariantOutcome:
    return VariantOutcome(
        variant=variant,
        status="failed" if status == "failed" else "unavailable",
        reason=reason,
        jobs={},
        account=NO_ACCOUNT,
        forward_tokens=0,
        seconds=0.0,
    )


def _gather(
    variant: Variant,
    by_arm: Mapping[str, list[Job]],
    searches: Mapping[str, list[Job]],
    arms: Sequence[str],
    store: EvidenceStore,
    evidence: list[Evidence],
    seals: dict[str, str],
) -> VariantOutcome:
    tokens, seconds = 0, 0.0
    for job in (job for jobs in searches.values() for job in jobs):
        seals[job.key] = store.seal(job.key)
        cost = store.cost(job.key)
        tokens, seconds = tokens + cost.forward_tokens, seconds + cost.seconds
    for arm in arms:
        for job in by_arm[arm]:
            seals[job.key] = store.seal(job.key)
            cost = store.cost(job.key)
            tokens, seconds = tokens + cost.forward_tokens, seconds + cost.seconds
            attack = variant.attack
            evidence.append(
                Evidence(attack.name, attack.variant, arm, job.seed, store.rows(job.key))
            )
    keys = {arm: [job.key for job in by_arm[arm]] for arm in arms}
    return VariantOutcome(
        variant=variant,
        status="measured",
        reason=None,
        jobs=keys,
        account=account(variant.attack, keys, store),
        forward_tokens=tokens,
        seconds=seconds,
    )
