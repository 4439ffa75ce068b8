"""Run of a whole audit: every attack on every arm.

What is measured waits for the searches whose findings it needs, and for nothing else.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from auditor.core.arms import Arm
from auditor.core.findings import AttackReport
from auditor.core.messages import Message, message
from auditor.core.progress import Progress
from auditor.core.roles import Role, Status
from auditor.engine.attack_report import attack_report
from auditor.engine.engine_report import engine_message
from auditor.engine.executors.base import Executor, LabelledJob
from auditor.engine.expansion import Variant, suited
from auditor.engine.failure import Failure
from auditor.engine.job import Job
from auditor.engine.preparation import Prepared
from auditor.policy import AS_IS, shortfall
from auditor.statistics import AttackEvidence
from auditor.store.base import EvidenceStore
from auditor.store.gathering import (
    code_message,
    dormant_units_message,
    effect_message,
    environment_message,
    measured_evidence,
    null_of,
    tokenization_message,
    unread,
    weights_message,
)
from auditor.store.table import Evidence, EvidenceTable


@dataclass(frozen=True)
class AttackRun:
    """Result of one variant."""

    variant: Variant
    evidence: AttackEvidence
    report: AttackReport
    """Report of the attack on that evidence."""
    forward_tokens: int
    """Tokens of its measurements and its searches; a search that variants share counts with each.
    """
    seconds: float


@dataclass(frozen=True)
class AuditOutcome:
    """Outcome of an audit, from which a certificate is made."""

    prepared: Prepared
    runs: list[AttackRun]
    table: EvidenceTable
    seals: dict[str, str]
    """Job key to the digest of its evidence."""
    devices: tuple[str, ...]
    """Devices on which it was measured, sorted by name."""
    started: datetime
    wall_seconds: float
    engine: Message | None = None
    """What another engine wrote; None where no job was to ask one."""


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
    missing: dict[str, tuple[Status, Message]] = {
        label: (Status.UNAVAILABLE, reason) for label, reason in reasons.items() if reason
    }
    runnable = [v for v in prepared.variants if reasons[v.label] is None]
    chosen = tuple(arms or prepared.arms)

    searches = {v.label: prepared.searches(v) for v in runnable if v.attack.searches}
    measures = {
        v.label: prepared.measurements(v, _only(searches.get(v.label, {}), chosen))
        for v in runnable
    }
    jobs = [*_labelled(searches, chosen), *_labelled(measures, chosen)]
    failures = executor.run(jobs, prepared.models, store, progress)

    done: dict[str, dict[str, list[Job]]] = {}
    for label, reason in reasons.items():
        if reason is not None:
            continue
        failed = _failed(searches.get(label, {}), failures, chosen) or _failed(
            measures.get(label, {}), failures, chosen
        )
        if failed:
            arm, failure = failed
            missing[label] = failure.status, message("on_arm", arm=arm, reason=failure.reason)
        else:
            done[label] = {arm: measures[label][arm] for arm in chosen}
    table = EvidenceTable(
        Evidence(variant.id, arm, job.seed, store.rows(job.key))
        for variant in prepared.variants
        for arm, jobs in done.get(variant.label, {}).items()
        for job in jobs
    )
    seals: dict[str, str] = {}
    runs = []
    for variant in prepared.variants:
        label = variant.label
        keys = {arm: tuple(job.key for job in jobs) for arm, jobs in done.get(label, {}).items()}
        found = _only(searches.get(label, {}), chosen) if keys else {}
        by_arm = [*found.values(), *done.get(label, {}).values()]
        every = [job.key for jobs in by_arm for job in jobs]
        seals |= {key: store.seal(key) for key in every}
        costs = [store.cost(key) for key in every]
        runs.append(
            AttackRun(
                variant=variant,
                evidence=_evidence(prepared, variant, keys, missing.get(label), table, store),
                report=attack_report(variant.attack, keys, store),
                forward_tokens=sum(cost.forward_tokens for cost in costs),
                seconds=sum(cost.seconds for cost in costs),
            )
        )
    environments = (store.environment(key) for key in seals)
    return AuditOutcome(
        prepared=prepared,
        runs=runs,
        table=table,
        seals=seals,
        devices=tuple(sorted({found.device for found in environments if found is not None})),
        started=started,
        wall_seconds=time.monotonic() - began,
        engine=engine_message(store, seals),
    )


def _evidence(
    prepared: Prepared,
    variant: Variant,
    jobs: Mapping[str, tuple[str, ...]],
    missing: tuple[Status, Message] | None,
    table: EvidenceTable,
    store: EvidenceStore,
) -> AttackEvidence:
    """The evidence of a variant, or why there is none."""
    plan, attack = prepared.plan, variant.attack
    metrics = (attack.metric,) if attack.metric else plan.metrics.decides
    baseline = attack.name == AS_IS
    lacking = None
    if variant.role is Role.MANDATORY:
        parameters = attack.parameters.model_dump(mode="json")
        policy = suited(plan.policy, entities=prepared.entities, experts=prepared.experts)
        lacking = shortfall(policy, variant.label, parameters)
    if missing is not None:
        status, reason = missing
        return AttackEvidence(
            id=variant.id,
            role=variant.role,
            status=status,
            reason=reason,
            readings=unread(metrics),
            baseline=baseline,
            shortfall=lacking,
        )
    arms = sorted(prepared.locations, key=lambda arm: Arm(arm).place)
    return measured_evidence(
        table,
        variant.id,
        variant.role,
        metrics,
        jobs,
        arms,
        prepared.sets.forget,
        baseline=baseline,
        null=null_of(prepared.sets, plan.used_baseline),
        reported=() if attack.metric else plan.metrics.beside,
        shortfall=lacking,
        environment=environment_message(store, variant.id, jobs),
        effect=effect_message(store, variant.id, attack.effect, jobs),
        weights=weights_message(store, variant.id, jobs),
        dormant_units=dormant_units_message(store, variant.id, jobs),
        tokenization=tokenization_message(store, variant.id, jobs, baseline=baseline),
        code=code_message(store, variant.id, prepared.sets.forget, jobs) if baseline else None,
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
