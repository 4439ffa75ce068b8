"""From a case to the arrays that statistics decide on."""

from auditor.certificate.case import Case, Trial
from auditor.policy import AS_IS, Policy, unmet
from auditor.statistics import (
    Arms,
    AttackArms,
    Decision,
    FactsNeeded,
    Margins,
    Utility,
    decide,
    facts_needed,
)


def margins(policy: Policy) -> Margins:
    """The margins of a policy."""
    return Margins(
        delta=policy.delta,
        alpha=policy.alpha,
        minimum_gap=policy.minimum_gap,
        leak_limit=policy.leak_limit,
        utility_margin=policy.utility_margin,
    )


def judge(case: Case) -> Decision:
    """Decide the verdict."""
    return decide(
        [_attack_arms(case, trial) for trial in case.trials],
        _utility(case),
        margins(case.policy),
        case.policy.scope,
        unmet(case.policy, len(case.sets["forget"]), len(case.retrained)),
    )


def power(case: Case, attacks: int | None = None) -> FactsNeeded | None:
    """Facts that a PASS needs, from the original and the retrained models without attack.

    Args:
        case: in which at least those arms were measured as they are.
        attacks: mandatory attacks that must pass; by default those of the case.

    Returns:
        None where those were not measured.
    """
    arms = case.matrix(case.as_is, ["original", *case.retrained], "forget")
    if arms is None:
        return None
    return facts_needed(
        arms[0],
        arms[1:],
        margins(case.policy),
        scope=case.policy.scope,
        entities=[fact.entity for fact in case.sets["forget"]],
        attacks=max(1, attacks or sum(trial.mandatory for trial in case.trials)),
    )


def _attack_arms(case: Case, trial: Trial) -> AttackArms:
    status, reason, arms = trial.status, trial.reason, None
    if status == "measured":
        table = case.matrix(trial, case.compared, "forget")
        if table is None:
            status, reason = "failed", "it did not measure every fact on every arm"
        else:
            entities = tuple(fact.entity for fact in case.sets["forget"])
            arms = Arms(table[0], table[1], table[2:], entities)
    return AttackArms(
        attack=trial.attack,
        variant=trial.variant,
        mandatory=trial.mandatory,
        status=status,
        reason=reason,
        arms=arms,
        baseline=trial.attack == AS_IS,
        reported=trial.reported,
        control=case.planted.get(trial.label),
        shortfall=trial.shortfall,
    )


def _utility(case: Case) -> Utility | None:
    retain = case.sets["retain"]
    table = case.matrix(case.as_is, ["unlearned", "original"], "retain")
    if not retain or table is None:
        return None
    return Utility(table[0], table[1], tuple(fact.entity for fact in retain))
