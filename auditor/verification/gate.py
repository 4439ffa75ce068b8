"""A verdict decided again under a policy, from stored evidence and without any model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from auditor.certificate.case import Case, Trial
from auditor.certificate.decided import decided_verdict
from auditor.certificate.judgement import judge
from auditor.certificate.schema import Certificate, VerdictPart
from auditor.errors import AuditorError
from auditor.evidence.columns import DECIDING
from auditor.evidence.store import EvidenceStore
from auditor.policy import Demand, Policy, demands, shortfall, waived
from auditor.verification.recall import recall


@dataclass(frozen=True)
class Gated:
    """What a policy makes of a certificate's evidence.

    Attributes:
        verdict: under the policy.
        policy: the policy.
        same_policy: whether it is the one that the certificate was made under.
        missing: what the policy demands and the audit did not run.
    """

    verdict: VerdictPart
    policy: Policy
    same_policy: bool
    missing: tuple[str, ...]


def gate(
    certificate: Certificate, store: EvidenceStore, policy: Policy, default: Iterable[str]
) -> Gated:
    """Decide again.

    Args:
        certificate: says which evidence belongs to which attack and model.
        store: the evidence.
        policy: decides.
        default: labels that are mandatory where the policy lists none.

    Raises:
        EvidenceChanged: evidence is missing or was changed.
        AuditorError: the policy demands an attack that is only reported, or waives none of its
            demands.
    """
    case = recall(certificate, store, DECIDING)
    parameters = {row.label: row.parameters for row in certificate.matrix}
    wanted = demands(policy, parameters, default)
    trials, missing = _under(policy, case.trials, wanted)
    trials = tuple(
        replace(
            trial,
            shortfall=shortfall(policy, trial.label, parameters.get(trial.label, {}))
            if trial.mandatory
            else None,
        )
        for trial in trials
    )
    again: Case = replace(case, policy=policy, trials=trials)
    return Gated(
        verdict=decided_verdict(again, judge(again)),
        policy=policy,
        same_policy=policy.digest == certificate.identity.policy_digest,
        missing=missing,
    )


def _under(
    policy: Policy, trials: tuple[Trial, ...], wanted: tuple[Demand, ...]
) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    """The trials with the parts that the policy gives them, those that it misses included."""
    missing = tuple(demand.name for demand in wanted if not demand.labels)
    mandatory = [label for demand in wanted for label in (demand.labels or (demand.name,))]
    lifted = waived(policy, mandatory)
    silent = [t.label for t in trials if t.reported and t.label in mandatory]
    if silent:
        raise AuditorError(
            f"the policy {policy.name} makes {', '.join(silent)} mandatory, which is only "
            "reported: its measure is not of knowledge that comes out."
        )
    placed = [
        replace(
            trial,
            mandatory=trial.label in mandatory and trial.label not in lifted,
            waived=trial.label in lifted,
        )
        for trial in trials
    ]
    placed += [
        Trial(
            attack=name.partition(" ")[0],
            variant=name.partition(" ")[2],
            mandatory=name not in lifted,
            waived=name in lifted,
            reported=False,
            probe="",
            status="unavailable",
            reason="the audit did not run it",
            jobs={},
        )
        for name in missing
    ]
    return tuple(placed), missing
