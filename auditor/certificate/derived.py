"""Parts of a certificate that follow from its verdict's inputs.

They follow from the inputs alone.

An audit writes them down, and verification works them out again.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from auditor.certificate.decision import power
from auditor.certificate.examples import worst
from auditor.certificate.image_examples import image_examples
from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.parts import ByArm
from auditor.certificate.schema import (
    ForgetQualityPart,
    PolicyPart,
    ScopePart,
    SetPart,
    UncertaintyPart,
    VerdictPart,
    WaiverPart,
)
from auditor.core.arms import Arm
from auditor.core.baselines import Baseline
from auditor.core.facts import SetName
from auditor.core.messages import Message, message
from auditor.core.roles import Role, Status
from auditor.statistics import AttackEvidence, Decision, Verdict, forget_quality

_EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1}
_CLAIMS = {
    Verdict.PASS: "no_more_extractable",
    Verdict.FAIL: "more_extractable",
    Verdict.INCONCLUSIVE: "nothing_concluded",
    Verdict.NOT_AUDITABLE: "nothing_to_audit",
}

_CLAIMS_ON_NEVER_SEEN_FACTS = {
    Verdict.PASS: "no_more_than_never_seen_facts",
    Verdict.FAIL: "more_than_never_seen_facts",
    Verdict.INCONCLUSIVE: "nothing_concluded",
    Verdict.NOT_AUDITABLE: "nothing_to_audit",
}
_CLAIMS_ON_EXCHANGED_ANSWERS = {
    Verdict.PASS: "no_more_than_exchanged_answers",
    Verdict.FAIL: "more_than_exchanged_answers",
    Verdict.INCONCLUSIVE: "nothing_concluded",
    Verdict.NOT_AUDITABLE: "nothing_to_audit",
}
_CLAIMS_ON_LOGS = {
    Verdict.PASS: "no_more_in_logs",
    Verdict.FAIL: "more_in_logs",
    Verdict.INCONCLUSIVE: "nothing_concluded",
    Verdict.NOT_AUDITABLE: "nothing_to_audit",
}


def derived_parts(inputs: DecisionInputs, decision: Decision) -> dict[str, Any]:
    """Return the parts of a certificate that its inputs decide.

    They stand by name, and follow from nothing else.
    """
    entities, facts = worst(inputs)
    return {
        "verdict": verdict_part(inputs, decision),
        "scope": _scope(inputs, decision),
        "policy": _policy(inputs),
        "utility": decision.utility,
        "uncertainty": _uncertainty(inputs, decision),
        "worst_entities": entities,
        "worst_facts": facts,
        "image_examples": image_examples(inputs),
        "limitations": _limitations(inputs, decision),
    }


def row_means(inputs: DecisionInputs, attack: AttackEvidence) -> dict[SetName, dict[str, ByArm]]:
    """Return mean K by set of facts, metric and arm."""
    return {name: inputs.means(attack, name) for name in inputs.sets}


def verdict_part(inputs: DecisionInputs, decision: Decision) -> VerdictPart:
    """The verdict, its claim and its reasons."""
    policy, verdict = inputs.policy, decision.verdict
    if decision.baseline is Baseline.NEVER_SEEN_FACTS:
        code = _CLAIMS_ON_NEVER_SEEN_FACTS[verdict]
    elif decision.baseline is Baseline.OWN_NULL:
        code = _CLAIMS_ON_EXCHANGED_ANSWERS[verdict]
    else:
        code = _CLAIMS_ON_LOGS[verdict] if inputs.from_logs else _CLAIMS[verdict]
    broken = any(a.mandatory and a.evidence.status is Status.FAILED for a in decision.attacks)
    return VerdictPart.model_validate(
        {
            "verdict": verdict,
            "flags": decision.flags,
            "claim": message(code, delta=policy.delta, alpha=policy.alpha),
            "reasons": decision.reasons,
            "exit_code": _EXIT_CODES.get(verdict, 4 if broken else 3),
            "baseline": decision.baseline,
        }
    )


def _scope(inputs: DecisionInputs, decision: Decision) -> ScopePart:
    primary, *deciding = inputs.deciding
    return ScopePart(
        scope=inputs.policy.scope,
        sets={
            name: SetPart(facts=len(facts), entities=len({fact.entity for fact in facts}))
            for name, facts in inputs.sets.items()
        },
        primary_metric=primary,
        deciding_metrics=tuple(deciding),
        reported_metrics=tuple(m for m in inputs.metrics if m not in inputs.deciding),
        baseline_claim=decision.baseline_claim,
    )


def _policy(inputs: DecisionInputs) -> PolicyPart:
    """The rules, with the labels of the attacks that each concerns."""
    policy = inputs.policy

    def labels(*roles: Role) -> tuple[str, ...]:
        return tuple(attack.id.label for attack in inputs.attacks if attack.role in roles)

    return PolicyPart(
        name=policy.name,
        delta=policy.delta,
        alpha=policy.alpha,
        minimum_gap=policy.minimum_gap,
        leak_limit=policy.leak_limit,
        utility_margin=policy.utility_margin,
        leaked_facts=policy.leaked_facts,
        deciding_metrics=policy.deciding_metrics or None,
        mandatory=labels(Role.MANDATORY),
        advisory=labels(Role.ADVISORY, Role.WAIVED),
        reported=labels(Role.REPORTED),
        budgets=policy.budgets,
        minimum_facts=policy.minimum_facts,
        minimum_retrained=policy.minimum_retrained,
        minimum_baseline=policy.minimum_baseline,
        valid_days=policy.valid_days,
        waivers=tuple(
            WaiverPart(attack=w.attack, reason=w.reason, by=w.by, until=w.until.isoformat())
            for w in policy.waivers
        ),
    )


def _uncertainty(inputs: DecisionInputs, decision: Decision) -> UncertaintyPart:
    """Return the bounds of the residual and the baseline's spread."""
    undecided = decision.verdict is Verdict.INCONCLUSIVE
    needed = decision.facts_needed if undecided else power(inputs)
    known = inputs.means(inputs.as_is, "forget").get(inputs.metrics[0], {})
    spread = [known[arm] for arm in inputs.retrained if arm in known]
    retrained = len(inputs.retrained) if inputs.baseline is Baseline.RETRAINED else 0
    return UncertaintyPart(
        residual_lower=decision.residual.lower,
        residual_upper=decision.residual.upper,
        residual_complete=decision.residual.complete,
        log_e_fail=decision.log_e_fail,
        fail_threshold=decision.fail_threshold,
        facts_available=len(inputs.sets["forget"]),
        facts_needed=needed.needed if needed else None,
        facts_needed_basis=needed.basis if needed else None,
        facts_to_fail=decision.facts_to_fail.needed if decision.facts_to_fail else None,
        retrained_models=retrained,
        retrained_spread=float(np.std(spread, ddof=1)) if len(spread) > 1 else None,
        forget_quality=tuple(_forget_quality(inputs)),
        baselines=decision.baselines,
    )


def _forget_quality(inputs: DecisionInputs) -> Iterator[ForgetQualityPart]:
    """Yield KS tests on the truth ratio, as TOFU defines them.

    Nothing is yielded where the truth ratio was not measured.
    """
    attack = inputs.as_is
    known = {
        arm: inputs.table.knowledge(attack.id, arm, "forget", "truth-ratio") for arm in attack.jobs
    }
    unlearned = known.get(Arm.UNLEARNED)
    for arm in inputs.retrained:
        if unlearned and (retrained := known.get(arm)):
            shared = sorted(unlearned.keys() & retrained.keys())
            result = forget_quality(
                np.array([unlearned[fact] for fact in shared]),
                np.array([retrained[fact] for fact in shared]),
            )
            yield ForgetQualityPart(
                baseline=arm, p_value=result.p_value, statistic=result.statistic
            )


def _limitations(inputs: DecisionInputs, decision: Decision) -> tuple[Message, ...]:
    """Return messages on what the certificate does not say."""
    attacks = [attack for attack in inputs.attacks if attack.jobs and not attack.baseline]
    limits = [
        *([message("evidence_is_logs")] if inputs.from_logs else []),
        message("attacks_give_lower_bounds"),
        message("families_run", families=sorted({attack.id.family for attack in attacks})),
        message("metric_on_given_prompts", metrics=inputs.deciding),
    ]
    if decision.baseline_claim:
        limits.append(message("residual_relative", to=decision.baseline_claim))
    if inputs.policy.scope == "census":
        limits.append(message("nothing_outside_audited_set"))
    return (*limits, message("inputs_trusted"), message("no_statement_of_compliance"))
