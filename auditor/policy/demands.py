"""Demands of a policy, and what an audit lacks of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from auditor.core.aliases import attack_label, attack_parameters
from auditor.core.baselines import Baseline
from auditor.core.errors import AuditorError, ExpiredError
from auditor.core.facts import Fact
from auditor.core.messages import Message, message
from auditor.data.near_copies import near_copies
from auditor.metrics.metric import METRICS
from auditor.policy.policy import AS_IS, Policy

DILUTION = 0.5
"""Share of a budget that the mean of a list of values must reach."""


@dataclass(frozen=True)
class Demand:
    """Attacks that a policy asks for by one name."""

    name: str
    labels: tuple[str, ...]
    """Labels of the attacks of that name; none where nobody runs or provides them."""


def demands(policy: Policy, known: Iterable[str], default: Iterable[str]) -> tuple[Demand, ...]:
    """Return the demands of a policy, in its order.

    The model as it is is one of them.

    Args:
        policy: whose demands.
        known: labels (``family/name variant``) of the attacks that could be meant.
        default: labels that are demanded where the policy lists none.
    """
    labels = tuple(known)
    wanted = tuple(default) if policy.mandatory is None else policy.mandatory
    names = dict.fromkeys(attack_label(name) for name in (*wanted, AS_IS))
    return tuple(Demand(name, matching(name, labels)) for name in names)


def renamed(policy: Policy, levels: Mapping[str, str]) -> Policy:
    """Return a policy that demands other levels of attacks.

    Budgets and waivers go with the demands. Where several demands become one, it has the largest of
    their budgets, and is waived only if all of them are.

    Args:
        policy: whose demands.
        levels: label of a level to the label of that which takes its place.
    """

    def now(name: str) -> str:
        return levels.get(attack_label(name), name)

    budgets: dict[str, dict[str, float]] = {}
    for name, least in policy.budgets.items():
        held = budgets.setdefault(now(name), {})
        held |= {key: max(value, held.get(key, value)) for key, value in least.items()}
    lifted = {attack_label(waiver.attack) for waiver in policy.waivers}
    unlifted = {
        levels[name]
        for name in map(attack_label, policy.mandatory or ())
        if name in levels and not {name, name.partition(" ")[0]} & lifted
    }
    waivers = (w.model_copy(update={"attack": now(w.attack)}) for w in policy.waivers)
    return policy.model_copy(
        update={
            "mandatory": policy.mandatory and tuple(map(now, policy.mandatory)),
            "budgets": budgets,
            "waivers": tuple(waiver for waiver in waivers if waiver.attack not in unlifted),
        }
    )


def matching(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that a policy means by a name.

    The name is a label or an attack's, of today or a former one.
    """
    current = attack_label(name)
    return tuple(label for label in labels if current in (label, label.partition(" ")[0]))


def waived(policy: Policy, mandatory: Iterable[str]) -> tuple[str, ...]:
    """Labels of the mandatory attacks that waivers lift.

    Raises:
        AuditorError: a waiver lifts nothing, or the model as it is.
    """
    labels = tuple(mandatory)
    lifted: list[str] = []
    for waiver in policy.waivers:
        found = matching(waiver.attack, labels)
        if not found:
            raise AuditorError(
                f"the policy {policy.name} waives {waiver.attack!r}, which it does not demand. It "
                f"demands: {', '.join(labels)}."
            )
        if any(label.startswith(f"{AS_IS} ") for label in found):
            raise AuditorError(
                f"the policy {policy.name} waives {waiver.attack!r}: without the model as it is "
                "nothing can be said."
            )
        lifted.extend(found)
    return tuple(dict.fromkeys(lifted))


def check_expired(policy: Policy, today: date) -> None:
    """Refuse a policy of which a waiver holds no longer.

    Raises:
        ExpiredError: names the waiver.
    """
    for waiver in policy.waivers:
        check_expired_waiver(waiver.attack, waiver.by, waiver.until, today)


def check_expired_waiver(attack: str, by: str, until: date, today: date) -> None:
    """Refuse a waiver that holds no longer.

    Args:
        attack: what it lifts.
        by: who answers for it.
        until: the last day on which it holds.
        today: the day of asking.

    Raises:
        ExpiredError: names the waiver.
    """
    if until < today:
        raise ExpiredError(
            f"the waiver of {attack} by {by} expired on {until}. Run the attack, or have the "
            "waiver renewed in the policy and audit again."
        )


def shortfall(policy: Policy, label: str, parameters: Mapping[str, Any]) -> Message | None:
    """Return how an attack falls short of its budget, or None.

    The budget is that which the policy asks of it.

    Args:
        policy: whose budgets.
        label: ``family/name variant``.
        parameters: the attack's parameters as plain data, by names of today or former ones.
    """
    lacking: list[dict[str, Any]] = []
    attack = label.partition(" ")[0]
    given = attack_parameters(attack, parameters)
    for name, budget in policy.budgets.items():
        if not matching(name, (label,)):
            continue
        for parameter, least in attack_parameters(attack, budget).items():
            value = given.get(parameter)
            if not _reaches(value, least):
                lacking.append({"parameter": parameter, "value": value, "least": least})
    return message("budget_not_met", attack=label, lacking=lacking) if lacking else None


def _reaches(value: Any, least: float) -> bool:
    """Whether a parameter reaches a budget.

    An attack that takes several values is judged by the mean over them, so that a list of small
    values with the budget at its end would dilute it: its mean must reach half of the budget, too.
    """
    values = value if isinstance(value, list | tuple) else [value]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not numbers or len(numbers) < len(values):
        return False
    return max(numbers) >= least and sum(numbers) / len(numbers) >= DILUTION * least


def lacking_metrics(
    policy: Policy, facts: Sequence[Fact], deciding: Sequence[str]
) -> tuple[str, ...]:
    """Return the demanded metrics that apply and do not decide.

    A metric applies that reads the form of answers that the primary one reads, and every fact; but
    none that makes models write, where the primary one asks them to choose. One that is not
    installed here, or stands beside a primary one that is not, is taken to apply.

    Args:
        policy: whose demands.
        facts: facts of the forget set.
        deciding: names of the metrics that decide, the primary one first.
    """
    installed = METRICS.names()

    def applies(name: str) -> bool:
        if name not in installed or deciding[0] not in installed:
            return True
        found, primary = METRICS.get(name), METRICS.get(deciding[0])
        if found.reads != primary.reads or (found.generates and primary.closed):
            return False
        return all(map(found().readable, facts))

    demanded = (name for name in policy.deciding_metrics if name not in deciding)
    return tuple(name for name in dict.fromkeys(demanded) if applies(name))


def _repeated(policy: Policy, facts: Sequence[Fact], deciding: Sequence[str]) -> Message | None:
    """Say that more facts are near copies than the policy allows.

    Models that answer in images are asked one prompt with many seeds, so theirs are not counted.
    """
    allowed = policy.repeated_facts
    in_images = deciding[0] in METRICS.names() and METRICS.get(deciding[0]).reads == "image"
    if allowed is None or in_images:
        return None
    copies = near_copies(facts)
    if len(copies) <= allowed * len(facts):
        return None
    return message(
        "repeated_facts",
        policy=policy.name,
        allowed=allowed,
        copies=len(copies),
        facts=len(facts),
        example=list(copies[0]),
    )


def unmet(
    policy: Policy,
    facts: Sequence[Fact],
    retrained: int,
    deciding: Sequence[str],
    earlier_audits: int = 0,
    *,
    baseline: Baseline = Baseline.RETRAINED,
    from_logs: bool = False,
) -> tuple[Message, ...]:
    """Return what a PASS lacks besides the attacks.

    Args:
        policy: whose demands.
        facts: facts of the forget set.
        retrained: retrained models.
        deciding: names of the metrics that decide, the primary one first.
        earlier_audits: audits of the same unlearned model on other facts or with other seeds.
        baseline: what stands for a model that forgot.
        from_logs: whether logs stood in for the models, whose files nobody saw.
    """
    found = [
        *unmet_numbers(policy, len(facts), retrained, baseline=baseline, from_logs=from_logs),
    ]
    if lacking := lacking_metrics(policy, facts, deciding):
        found.append(
            message(
                "deciding_metrics_lacking", policy=policy.name, metrics=lacking, deciding=deciding
            )
        )
    if repeated := _repeated(policy, facts, deciding):
        found.append(repeated)
    if too_many := audited_too_often(policy, earlier_audits):
        found.append(too_many)
    return tuple(found)


def audited_too_often(policy: Policy, audits: int) -> Message | None:
    """Say that more audits came before than the policy allows.

    Args:
        policy: whose demands.
        audits: audits of the same unlearned model on other facts or with other seeds.
    """
    if policy.earlier_audits is None or audits <= policy.earlier_audits:
        return None
    return message(
        "audited_before_too_often",
        policy=policy.name,
        allowed=policy.earlier_audits,
        audits=audits,
    )


def unmet_numbers(
    policy: Policy, facts: int, retrained: int, *, baseline: Baseline, from_logs: bool
) -> tuple[Message, ...]:
    """Return what a PASS lacks of what can be counted.

    Args:
        policy: whose demands.
        facts: facts of the forget set.
        retrained: retrained models.
        baseline: what stands for a model that forgot.
        from_logs: whether logs stood in for the models, whose files nobody saw.
    """
    found = []
    if baseline.strength < policy.minimum_baseline.strength:
        found.append(
            message(
                "baseline_too_weak",
                policy=policy.name,
                baseline=baseline.value,
                demanded=policy.minimum_baseline.value,
            )
        )
    if from_logs and not policy.accepts_logs:
        found.append(message("policy_wants_models", policy=policy.name))
    if facts < policy.minimum_facts:
        found.append(
            message(
                "too_few_facts",
                policy=policy.name,
                demanded=policy.minimum_facts,
                facts=facts,
            )
        )
    if baseline is Baseline.RETRAINED and retrained < policy.minimum_retrained:
        found.append(
            message(
                "too_few_retrained_models",
                policy=policy.name,
                demanded=policy.minimum_retrained,
                retrained=retrained,
            )
        )
    return tuple(found)
