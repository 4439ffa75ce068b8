"""The part that each attack has in a verdict, as a policy gives it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from auditor.certificate.case import Trial
from auditor.core.errors import AuditorError
from auditor.policy import Policy, demands, shortfall, waived


def under(
    policy: Policy,
    trials: Sequence[Trial],
    parameters: Mapping[str, Mapping[str, Any]],
    default: Iterable[str] = (),
) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    """The trials of a case under a policy.

    Args:
        policy: whose demands, waivers and budgets.
        trials: the attacks that the audit ran or tried to run.
        parameters: label to the attack's parameters.
        default: labels that are mandatory where the policy lists none.

    Returns:
        The trials, those that the policy demands and the audit lacks included; and their names.

    Raises:
        AuditorError: the policy demands an attack that is only reported, or waives what it does
            not demand.
    """
    wanted = demands(policy, parameters, default)
    missing = tuple(demand.name for demand in wanted if not demand.labels)
    mandatory = [label for demand in wanted for label in (demand.labels or (demand.name,))]
    lifted = waived(policy, mandatory)
    silent = [trial.label for trial in trials if trial.reported and trial.label in mandatory]
    if silent:
        raise AuditorError(
            f"the policy {policy.name} makes {', '.join(silent)} mandatory, which is only "
            "reported: its measure is not of knowledge that comes out."
        )
    placed = [_placed(trial, mandatory, lifted) for trial in trials]
    placed += [_placed(_never_run(name), mandatory, lifted) for name in missing]
    return tuple(
        replace(
            trial,
            shortfall=shortfall(policy, trial.label, parameters.get(trial.label, {}))
            if trial.mandatory
            else None,
        )
        for trial in placed
    ), missing


def _placed(trial: Trial, mandatory: Sequence[str], lifted: Sequence[str]) -> Trial:
    label = trial.label
    return replace(
        trial,
        mandatory=label in mandatory and label not in lifted,
        waived=label in lifted,
    )


def _never_run(name: str) -> Trial:
    attack, _, variant = name.partition(" ")
    return Trial(
        attack=attack,
        variant=variant,
        mandatory=False,
        waived=False,
        reported=False,
        metric="",
        status="unavailable",
        reason="the audit did not run it",
        jobs={},
    )
