"""From the evidence table to the arrays that statistics decide on."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from auditor.data.fact import SetName
from auditor.engine.audit import AuditOutcome, VariantOutcome
from auditor.engine.expansion import AS_IS
from auditor.engine.plan import PolicySection
from auditor.statistics import (
    Arms,
    AttackArms,
    Control,
    Decision,
    FactsNeeded,
    Margins,
    Utility,
    decide,
    facts_needed,
)


def margins(policy: PolicySection) -> Margins:
    """The margins of a policy."""
    return Margins(
        delta=policy.delta,
        alpha=policy.alpha,
        minimum_gap=policy.minimum_gap,
        leak_limit=policy.leak_limit,
        utility_margin=policy.utility_margin,
    )


def retrained_arms(outcome: AuditOutcome) -> list[str]:
    """Names of the retrained arms, in order."""
    return [arm for arm in outcome.prepared.locations if arm.startswith("retrained")]


def deciding_probe(outcome: AuditOutcome, variant: VariantOutcome) -> str:
    """The measure of K that decides on an attack: its own, or the plan's primary probe."""
    return variant.variant.attack.probe or outcome.prepared.plan.probes.primary


def as_is(outcome: AuditOutcome) -> VariantOutcome:
    """The outcome of the model as it is."""
    return next(v for v in outcome.variants if v.variant.attack.name == AS_IS)


def judge(outcome: AuditOutcome, planted: Mapping[str, Control] = MappingProxyType({})) -> Decision:
    """Decide the verdict from the evidence of an audit.

    Args:
        outcome: what the engine gathered.
        planted: label of a variant to what it made of the suppression planted for it.
    """
    policy = outcome.prepared.plan.policy
    return decide(
        [
            _attack_arms(outcome, variant, planted.get(variant.variant.label))
            for variant in outcome.variants
        ],
        _utility(outcome),
        margins(policy),
        policy.scope,
    )


def power(outcome: AuditOutcome, attacks: int | None = None) -> FactsNeeded | None:
    """Facts that a PASS needs, from the original and the retrained models without attack.

    Args:
        outcome: an audit in which at least those arms were measured as they are.
        attacks: mandatory attacks that must pass; by default those of the audit.

    Returns:
        None where those were not measured.
    """
    prepared = outcome.prepared
    arms = _matrix(outcome, as_is(outcome), ["original", *retrained_arms(outcome)], "forget")
    if arms is None:
        return None
    mandatory = attacks or sum(v.mandatory for v in prepared.variants)
    return facts_needed(
        arms[0],
        arms[1:],
        margins(prepared.plan.policy),
        scope=prepared.plan.policy.scope,
        subjects=[fact.subject for fact in prepared.sets.forget],
        attacks=max(1, mandatory),
    )


def _attack_arms(
    outcome: AuditOutcome, variant: VariantOutcome, control: Control | None
) -> AttackArms:
    attack = variant.variant.attack
    status, reason, arms = variant.status, variant.reason, None
    if status == "measured":
        names = ["unlearned", "original", *retrained_arms(outcome)]
        table = _matrix(outcome, variant, names, "forget")
        if table is None:
            status, reason = "failed", "it did not measure every fact on every arm"
        else:
            subjects = tuple(fact.subject for fact in outcome.prepared.sets.forget)
            arms = Arms(table[0], table[1], table[2:], subjects)
    return AttackArms(
        attack=attack.name,
        variant=attack.variant,
        mandatory=variant.variant.mandatory,
        status=status,
        reason=reason,
        arms=arms,
        baseline=attack.name == AS_IS,
        reported=not attack.decides,
        control=control,
    )


def _utility(outcome: AuditOutcome) -> Utility | None:
    retain = outcome.prepared.sets.retain
    table = _matrix(outcome, as_is(outcome), ["unlearned", "original"], "retain")
    if not retain or table is None:
        return None
    return Utility(table[0], table[1], tuple(fact.subject for fact in retain))


def _matrix(
    outcome: AuditOutcome, variant: VariantOutcome, arms: Sequence[str], set_name: SetName
) -> np.ndarray | None:
    """K of the measure that decides as [arms, facts]; None where any of it is missing."""
    attack = variant.variant.attack
    return outcome.table.matrix(
        attack.name,
        attack.variant,
        arms,
        set_name,
        deciding_probe(outcome, variant),
        [fact.id for fact in outcome.prepared.sets.named(set_name)],
    )
