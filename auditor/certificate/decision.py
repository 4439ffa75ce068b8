"""Decision on the inputs of a verdict."""

from collections.abc import Iterator, Mapping

from auditor.certificate.inputs import DecisionInputs
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.facts import SetName
from auditor.core.messages import Message, message
from auditor.core.roles import Role
from auditor.models.provenance import unchecked
from auditor.policy import Policy, unmet
from auditor.statistics import (
    AttackAssessment,
    Decision,
    FactsNeeded,
    Margins,
    Utility,
    decide,
    facts_needed,
)
from auditor.statistics.baselines import KnownSet, KnownSets
from auditor.statistics.blind import sets_told_apart
from auditor.statistics.null_gates import LEAST_NULL_FACTS, SHARE_OF_DELTA
from auditor.statistics.rules import TODAY, Rules
from auditor.statistics.verdict import assess_all


def margins(policy: Policy, rules: Rules = TODAY) -> Margins:
    """The margins of a policy, under the rules of a release."""
    return Margins(
        delta=policy.delta,
        alpha=policy.alpha,
        minimum_gap=policy.minimum_gap,
        leak_limit=policy.leak_limit,
        utility_margin=policy.utility_margin,
        leaked_facts=policy.leaked_facts,
        leaks_counted=rules.leaks_counted,
    )


def decide_verdict(inputs: DecisionInputs) -> Decision:
    """Decide the verdict."""
    return decide(
        inputs.attacks,
        _utility(inputs),
        margins(inputs.policy),
        inputs.policy.scope,
        [*_unmet(inputs), *_unchecked(inputs)],
        known=_known(inputs),
        facts=[fact.id for fact in inputs.sets["forget"]],
        rules=inputs.rules,
        baseline=inputs.baseline,
        unsound=tuple(_unsound(inputs)),
    )


def _unmet(inputs: DecisionInputs) -> tuple[Message, ...]:
    """Return what a PASS lacks of what the policy demands."""
    return unmet(
        inputs.policy,
        inputs.sets["forget"],
        len(inputs.retrained),
        inputs.deciding,
        inputs.earlier_audits,
        baseline=inputs.baseline,
        from_logs=inputs.from_logs,
    )


def _unchecked(inputs: DecisionInputs) -> tuple[Message, ...]:
    """Return built baselines that may have been trained on forget facts."""
    if inputs.baseline is not Baseline.RETRAINED:
        return ()
    return unchecked(inputs.built, inputs.sets["forget"])


def _unsound(inputs: DecisionInputs) -> Iterator[Message]:
    """Yield what keeps the baseline from standing for a model that forgot."""
    holdout = inputs.sets["holdout"]
    if inputs.baseline is Baseline.NEVER_SEEN_FACTS:
        told = sets_told_apart(inputs.sets["forget"], holdout)
        if told is not None:
            yield told
    if inputs.baseline is Baseline.REFERENCE:
        known = inputs.matrix(inputs.as_is, inputs.arms, "holdout")
        forget = inputs.matrix(inputs.as_is, inputs.arms, "forget")
        if known is None or forget is None or len(holdout) < LEAST_NULL_FACTS:
            yield message("reference_not_checked", facts=len(holdout), needed=LEAST_NULL_FACTS)
            return
        gap = max(0.0, float(forget[1].mean() - forget[2:].mean()))
        allowed = SHARE_OF_DELTA * inputs.policy.delta * gap
        difference = float(known[0].mean() - known[2:].mean())
        if abs(difference) > allowed:
            yield message(
                "reference_knows_otherwise",
                unlearned=float(known[0].mean()),
                reference=float(known[2:].mean()),
                allowed=allowed,
            )


def assess_controls(
    inputs: DecisionInputs, shares: Mapping[AttackId, int]
) -> tuple[AttackAssessment, ...]:
    """Assess attacks on a positive control as the audit assesses them.

    Args:
        inputs: inputs with the control in the place of the unlearned model, and with those of the
            audit's attacks that were put to it.
        shares: attack to the parts of alpha of which it has one in the audit.
    """
    allowed = margins(inputs.policy, inputs.rules)
    return assess_all(inputs.attacks, allowed, inputs.policy.scope, inputs.rules, shares)


def power(inputs: DecisionInputs, attacks: int | None = None) -> FactsNeeded | None:
    """Return the number of facts that a PASS needs.

    It follows from the original and the retrained models without attack.

    Args:
        inputs: inputs in which at least those arms were measured as they are.
        attacks: mandatory attacks that must pass; by default those of the inputs.

    Returns:
        None where those were not measured.
    """
    if not inputs.baseline.of_models:
        return None
    arms = inputs.matrix(inputs.as_is, [Arm.ORIGINAL, *inputs.retrained], "forget")
    if arms is None:
        return None
    mandatory = sum(attack.role is Role.MANDATORY for attack in inputs.attacks)
    return facts_needed(
        arms[0],
        arms[1:],
        margins(inputs.policy, inputs.rules),
        scope=inputs.policy.scope,
        entities=[fact.entity for fact in inputs.sets["forget"]],
        attacks=max(1, attacks or mandatory),
    )


def _utility(inputs: DecisionInputs) -> Utility | None:
    retain = inputs.sets["retain"]
    table = inputs.matrix(inputs.as_is, [Arm.UNLEARNED, Arm.ORIGINAL], "retain")
    if not retain or table is None:
        return None
    return Utility(table[0], table[1], tuple(fact.entity for fact in retain))


def _known(inputs: DecisionInputs) -> KnownSets | None:
    """Return what every model knows without attack, or None."""

    def measured(name: SetName) -> KnownSet | None:
        facts = inputs.sets[name]
        table = inputs.matrix(inputs.as_is, inputs.arms, name) if facts else None
        return None if table is None else KnownSet(table, tuple(fact.entity for fact in facts))

    forget = measured("forget")
    if forget is None or not inputs.retrained:
        return None
    return KnownSets(forget, measured("retain"), measured("holdout"))
