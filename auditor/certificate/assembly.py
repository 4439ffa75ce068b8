"""From a finished audit to its certificate."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from auditor.attack import AnyAttack
from auditor.certificate.arm import ArmPart
from auditor.certificate.checks import NOT_PLANTED, PositiveControlled, control_parts
from auditor.certificate.decided import (
    decided_policy,
    decided_uncertainty,
    decided_utility,
    decided_verdict,
)
from auditor.certificate.exhibits import exhibits
from auditor.certificate.filing import case_of
from auditor.certificate.judgement import judge
from auditor.certificate.matrix import matrix_row
from auditor.certificate.reproduction import reproduction
from auditor.certificate.schema import (
    Certificate,
    EvidencePart,
    IdentityPart,
    TimingPart,
)
from auditor.certificate.wording import limitations, scope_part
from auditor.certificate.worst import worst
from auditor.core.hashing import digest
from auditor.core.time import utc_text
from auditor.engine.audit import AuditOutcome


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
    entities, facts = worst(case)
    parts: dict[str, Any] = {
        "verdict": decided_verdict(case, decision),
        "identity": _identity(outcome, earlier_policies),
        "scope": scope_part(case, decision, _measured(outcome)),
        "policy": decided_policy(case),
        "matrix": tuple(
            matrix_row(case, trial, assessment, variant)
            for trial, assessment, variant in zip(
                case.trials, decision.attacks, outcome.variants, strict=True
            )
        ),
        "controls": tuple(
            control_parts(
                decision, (c for v in outcome.variants for c in v.account.controls), controls
            )
        ),
        "utility": decided_utility(decision),
        "uncertainty": decided_uncertainty(case, decision),
        "positive_controls": controls.parts,
        "worst_entities": entities,
        "worst_facts": facts,
        "exhibits": exhibits(case),
        "redaction": "none",
        "evidence": EvidencePart(jobs=seals, digest=digest(seals)),
        "warnings": tuple(prepared.warnings),
        "limitations": limitations(case, decision),
        "reproduction": reproduction(outcome, command),
    }
    issued, days = datetime.now(UTC), prepared.plan.policy.valid_days
    timing = TimingPart(
        issued=utc_text(issued),
        expires=utc_text(issued + timedelta(days=days)) if days else None,
        started=utc_text(outcome.started),
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
                adapter=said.get("adapter"),
                dtype=spec.dtype,
                digest=prepared.locations[arm].manifest.digest,
                files=prepared.locations[arm].manifest.files,
                replacement=said.get("replacement"),
                sampling=said.get("sampling"),
            )
            for arm, spec in plan.arms.items()
            for said in (spec.model_dump(mode="json"),)
        ),
        instruments=dict(prepared.auxiliary.digests) or None,
        facts_digest=prepared.facts,
        plan_digest=digest(plan.model_dump(mode="json")),
        policy_digest=plan.policy.digest,
        earlier_policies=tuple(earlier_policies),
    )


def _measured(outcome: AuditOutcome) -> list[type[AnyAttack]]:
    """The attacks that left evidence, each once."""
    measured = [type(v.variant.attack) for v in outcome.variants if v.status == "measured"]
    return list(dict.fromkeys(measured))
