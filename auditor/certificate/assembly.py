"""From a finished audit to its certificate."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np

from auditor.certificate.checks import control_parts
from auditor.certificate.judgement import as_is, judge, power, retrained_arms
from auditor.certificate.matrix import matrix_row, means_by_arm
from auditor.certificate.reproduction import reproduction
from auditor.certificate.schema import (
    ArmPart,
    Certificate,
    EvidencePart,
    ForgetQualityPart,
    IdentityPart,
    PolicyPart,
    ScopePart,
    SetPart,
    TimingPart,
    UncertaintyPart,
    UtilityPart,
    VerdictPart,
)
from auditor.certificate.wording import claim, limitations, scope_statement, threat
from auditor.certificate.worst import worst_facts
from auditor.data.fact import SetName
from auditor.digests import digest
from auditor.engine.audit import AuditOutcome
from auditor.statistics import (
    Control,
    Decision,
    FactsNeeded,
    Verdict,
    forget_quality,
)

_SETS: tuple[SetName, ...] = ("forget", "retain", "holdout")


def assemble(
    outcome: AuditOutcome,
    command: str,
    planted: Mapping[str, Control] | None = None,
    control_seals: Mapping[str, str] = MappingProxyType({}),
    not_planted: str | None = None,
) -> Certificate:
    """Decide on an audit's evidence and write it down.

    Args:
        outcome: what the engine gathered.
        command: the command line that repeats the audit.
        planted: label of a mandatory variant to what it made of the suppression planted for it;
            None where nothing was planted.
        control_seals: key to digest of the evidence on the planted models.
        not_planted: why nothing was planted, if it should have been.
    """
    decision = judge(outcome, planted or {})
    seals = {**outcome.seals, **control_seals}
    planned = power(outcome)
    prepared = outcome.prepared
    parts: dict[str, Any] = {
        "verdict": _verdict(outcome, decision),
        "identity": _identity(outcome),
        "scope": _scope(outcome, decision),
        "policy": _policy(outcome),
        "matrix": tuple(
            matrix_row(outcome, variant, assessment)
            for variant, assessment in zip(outcome.variants, decision.attacks, strict=True)
        ),
        "controls": tuple(control_parts(outcome, decision, planted, not_planted)),
        "utility": _utility(decision),
        "uncertainty": _uncertainty(outcome, decision, planned),
        "positive_controls": (),
        "worst_subjects": (),
        "worst_facts": worst_facts(outcome),
        "redaction": "none",
        "evidence": EvidencePart(jobs=seals, digest=digest(seals)),
        "warnings": tuple(prepared.warnings),
        "limitations": limitations(prepared, decision, outcome.variants),
        "reproduction": reproduction(outcome, command),
    }
    timing = TimingPart(
        issued=_utc(datetime.now(UTC)),
        expires=None,
        started=_utc(outcome.started),
        wall_seconds=round(outcome.wall_seconds, 3),
        attack_seconds={v.variant.label: round(v.seconds, 3) for v in outcome.variants},
    )
    unnamed = Certificate(certificate_id="", timing=timing, **parts)
    return unnamed.model_copy(update={"certificate_id": unnamed.content_digest})


def _verdict(outcome: AuditOutcome, decision: Decision) -> VerdictPart:
    broken = [a for a in decision.attacks if a.status == "failed" and a.mandatory]
    exit_code = {Verdict.PASS: 0, Verdict.FAIL: 1}.get(decision.verdict, 4 if broken else 3)
    return VerdictPart.model_validate(
        {
            "verdict": decision.verdict.value,
            "flags": tuple(flag.value for flag in decision.flags),
            "claim": claim(outcome.prepared, decision),
            "reasons": decision.reasons,
            "exit_code": exit_code,
        }
    )


def _identity(outcome: AuditOutcome) -> IdentityPart:
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
        policy_digest=digest(plan.policy.model_dump(mode="json")),
        earlier_policies=(),
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


def _policy(outcome: AuditOutcome) -> PolicyPart:
    policy, variants = outcome.prepared.plan.policy, outcome.prepared.variants
    return PolicyPart(
        name="default",
        delta=policy.delta,
        alpha=policy.alpha,
        minimum_gap=policy.minimum_gap,
        leak_limit=policy.leak_limit,
        utility_margin=policy.utility_margin,
        mandatory=tuple(v.label for v in variants if v.mandatory),
        advisory=tuple(v.label for v in variants if not v.mandatory and v.attack.decides),
        reported=tuple(v.label for v in variants if not v.attack.decides),
        budgets={},
        minimum_facts=1,
        minimum_retrained=1,
        valid_days=None,
        waivers=(),
    )


def _utility(decision: Decision) -> UtilityPart:
    utility = decision.utility
    if utility is None:
        return UtilityPart(
            state="not measured",
            sentence="There is no measurement of the retain set.",
            facts=0,
            mean_unlearned=None,
            mean_original=None,
            log_e_kept=None,
            log_e_lost=None,
        )
    means = (
        f"mean knowledge of the retain set is {utility.mean_unlearned:.3f}, against "
        f"{utility.mean_original:.3f} in the original"
    )
    said = {
        "kept": f"Utility is kept: {means}.",
        "lost": f"Utility is lost: {means}.",
        "undetermined": f"Utility was shown neither kept nor lost: {means}.",
    }
    return UtilityPart(
        state=utility.state,
        sentence=said[utility.state],
        facts=utility.facts,
        mean_unlearned=utility.mean_unlearned,
        mean_original=utility.mean_original,
        log_e_kept=utility.log_e_kept,
        log_e_lost=utility.log_e_lost,
    )


def _uncertainty(
    outcome: AuditOutcome, decision: Decision, planned: FactsNeeded | None
) -> UncertaintyPart:
    undecided = decision.verdict is Verdict.INCONCLUSIVE
    needed = decision.facts_needed if undecided else planned
    spread = _retrained_means(outcome)
    return UncertaintyPart(
        residual_lower=decision.residual.lower,
        residual_upper=decision.residual.upper,
        residual_complete=decision.residual.complete,
        log_e_fail=decision.log_e_fail,
        fail_threshold=decision.fail_threshold,
        facts_available=len(outcome.prepared.sets.forget),
        facts_needed=needed.needed if needed else None,
        facts_needed_basis=needed.basis if needed else None,
        retrained_models=len(retrained_arms(outcome)),
        retrained_spread=float(np.std(spread, ddof=1)) if len(spread) > 1 else None,
        forget_quality=tuple(_forget_quality(outcome)),
    )


def _retrained_means(outcome: AuditOutcome) -> list[float]:
    by_arm = means_by_arm(outcome, as_is(outcome), "forget").get(
        outcome.prepared.plan.probes.primary, {}
    )
    return [by_arm[arm] for arm in retrained_arms(outcome) if arm in by_arm]


def _forget_quality(outcome: AuditOutcome) -> Iterable[ForgetQualityPart]:
    """KS on the truth ratio where it was measured, as TOFU defines it; else nothing."""
    attack = as_is(outcome).variant.attack
    known = {
        arm: outcome.table.knowledge(attack.name, attack.variant, arm, "forget", "truth-ratio")
        for arm in as_is(outcome).jobs
    }
    for arm in retrained_arms(outcome):
        if known.get(arm) and known.get("unlearned"):
            shared = sorted(known["unlearned"].keys() & known[arm].keys())
            result = forget_quality(
                np.array([known["unlearned"][f] for f in shared]),
                np.array([known[arm][f] for f in shared]),
            )
            yield ForgetQualityPart(
                baseline=arm, p_value=result.p_value, statistic=result.statistic
            )


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
