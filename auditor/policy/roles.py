"""Roles of the attacks of an audit, as a policy gives them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.core.attack_id import AttackId
from auditor.core.errors import AuditorError
from auditor.core.messages import Message
from auditor.core.roles import Role
from auditor.policy.demands import demands, shortfall, waived
from auditor.policy.policy import Policy


@dataclass(frozen=True)
class Assigned:
    """Role of an attack under a policy, with any shortfall.

    Attributes:
        role: role in the verdict.
        shortfall: how it falls short of the policy's budget; None where it does not.
    """

    role: Role
    shortfall: Message | None


def assign_roles(
    policy: Policy,
    attacks: Mapping[AttackId, Mapping[str, Any]],
    reported: Collection[AttackId],
    default: Iterable[str] = (),
    inapplicable: Collection[str] = (),
) -> tuple[dict[AttackId, Assigned], tuple[AttackId, ...]]:
    """Give every attack its role under a policy.

    Args:
        policy: whose demands, waivers and budgets.
        attacks: the attacks that were run or tried, with their parameters.
        reported: those whose measure counts towards no verdict.
        default: labels that are mandatory where the policy lists none.
        inapplicable: names of attacks that ask nothing new of these models, which count towards
            no verdict.

    Returns:
        Attack to what the policy makes of it, those that it demands and nobody ran included; and
        these.

    Raises:
        AuditorError: the policy demands an attack that is only reported, or waives what it does
            not demand.
    """
    by_label = {attack.label: attack for attack in attacks}
    wanted = demands(policy, by_label, default)
    absent = (AttackId.parse(demand.name) for demand in wanted if not demand.labels)
    missing = tuple(attack for attack in absent if attack.name not in inapplicable)
    mandatory = [label for demand in wanted for label in (demand.labels or (demand.name,))]
    lifted = waived(policy, mandatory)
    idle = {attack for attack in attacks if attack.name in inapplicable}
    silent = [a.label for a in reported if a.label in mandatory and a not in idle]
    if silent:
        raise AuditorError(
            f"the policy {policy.name} makes {', '.join(silent)} mandatory, which is only "
            "reported: its measure is not of knowledge that comes out. Take it off the list."
        )

    def assigned(attack: AttackId) -> Assigned:
        if attack in reported or attack in idle:
            return Assigned(Role.REPORTED, None)
        if attack.label in lifted:
            return Assigned(Role.WAIVED, None)
        if attack.label not in mandatory:
            return Assigned(Role.ADVISORY, None)
        return Assigned(Role.MANDATORY, shortfall(policy, attack.label, attacks.get(attack, {})))

    return {attack: assigned(attack) for attack in (*attacks, *missing)}, missing
