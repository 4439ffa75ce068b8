"""From a finished audit to its certificate."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from auditor.certificate.checks import NOT_PLANTED, PositiveControlled, control_parts
from auditor.certificate.decided import (
    decided_policy,
    decided_uncertainty,
    decided_utility,
    decided_verdict,
)
from auditor.certificate.filing import case_of
from auditor.certificate.judgement import judge
from auditor.certificate.matrix import matrix_row
from auditor.certificate.reproduction import reproduction
from auditor.certificate.schema import (
    ArmPart,
    Certificate,
    EvidencePart,
    IdentityPart,
    ScopePart,
    SetPart,
    TimingPart,
)
from auditor.certificate.wording import limitations, scope_statement, threat
from auditor.certificate.worst import worst
from auditor.data.fact import SetName
from auditor.digests import digest
from auditor.engine.audit import AuditOutcome
from auditor.statistics import Decision

_SETS: tuple[SetName, ...] = ("forget", "retain", "holdout")


def assemble(
    outcome: AuditOutcome,
    command: str,
    controls: PositiveControlled = NOT_PLANTED,
    earlier_policies: Sequence[str] = (),
) -> Certificate:
    """Decide on an audit's evidence and write it down.

    Args:
        outcome: what the engine gathered.
        command: the command line that repeats the audit.
        controls: what the mandatory attacks made of what was planted for them.
        earlier_policies: digests of the policies under which the same model and facts were
            audited before.
    """
    case = case_of(outcome, controls.found or {})
    decision = judge(case)
    seals = {**outcome.seals, **controls.seals}
    prepared = outcome.prepared
    subjects, facts = worst(case)
    parts: dict[str, Any] = {
        "verdict": decided_verdict(case, decision),
        "identity": _identity(outcome, earlier_policies),
        "scope": _scope(outcome, decision),
        "policy": decided_policy(case),
        "matrix": tuple(
            matrix_row(case, trial, assessment, variant)
            for trial, assessment, variant in zip(
                case.trials, decision.attacks, outcome.variants, strict=True
            )
        ),
        "controls": tuple(control_parts(outcome, decision, controls)),
        "utility": decided_utility(decision),
        "uncertainty": decided_uncertainty(case, decision),
        "positive_controls": controls.parts,
        "worst_subjects": subjects,
        "worst_facts": facts,
        "redaction": "none",
        "evidence": EvidencePart(jobs=seals, digest=digest(seals)),
        "warnings": tuple(prepared.warnings),
        "limitations": limitations(prepared, decision, outcome.variants),
        "reproduction": reproduction(outcome, command),
    }
    issued, days = datetime.now(UTC), prepared.plan.policy.valid_days
    timing = TimingPart(
        issued=_utc(issued),
        expires=_utc(issued + timedelta(days=days)) if days else None,
        started=_utc(outcome.started),
        wall_seconds=round(outcome.wall_seconds, 3),
        attack_seconds={v.variant.label: round(v.seconds, 3) for v in outcome.variants},
    )
    return Certificate(certificate_id="", timing=timing, **parts).named()


def _identity(outcome: AuditOutcome, earlier_policies: Sequence[str]) -> IdentityPart:
    prepared = outcome.prepared
    plan = prepared.plan
    return IdentityPart(
        arms=tuple(
            ArmPart(
                arm=arm,
                path=spec.path,
                revision=spec.revision,
                adapter=spec.adapter,
                dtype=spec.dtype,
                digest=prepared.locations[arm].manifest.digest,
                files=prepared.locations[arm].manifest.files,
            )
            for arm, spec in plan.arms.items()
        ),
        facts_digest=prepared.facts,
        plan_digest=digest(plan.model_dump(mode="json")),
        policy_digest=plan.policy.digest,
        earlier_policies=tuple(earlier_policies),
    )


def _scope(outcome: AuditOutcome, decision: Decision) -> ScopePart:
    prepared = outcome.prepared
    measured = [v.variant.attack for v in outcome.variants if v.status == "measured"]
    attacks = {attack.name: attack for attack in measured}
    return ScopePart(
        scope=prepared.plan.policy.scope,
        statement=scope_statement(prepared),
        sets={
            name: SetPart(
                facts=len(prepared.sets.named(name)),
                subjects=len({fact.subject for fact in prepared.sets.named(name)}),
            )
            for name in _SETS
        },
        primary_probe=prepared.plan.probes.primary,
        reported_probes=prepared.plan.probes.reported,
        baseline_claim=decision.baseline_claim,
        threats=tuple(threat(attack) for attack in attacks.values()),
    )


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
