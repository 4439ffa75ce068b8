"""A verdict decided again under a policy, from stored evidence and without any model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from auditor.certificate.decided import decided_verdict
from auditor.certificate.judgement import judge
from auditor.certificate.schema import Certificate, VerdictPart
from auditor.evidence.columns import DECIDING
from auditor.evidence.store import EvidenceStore
from auditor.policy import Policy
from auditor.verification.recall import recall
from auditor.verification.standing import under


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
    trials, missing = under(policy, case.trials, parameters, default)
    again = replace(case, policy=policy, trials=trials)
    return Gated(
        verdict=decided_verdict(again, judge(again)),
        policy=policy,
        same_policy=policy.digest == certificate.identity.policy_digest,
        missing=missing,
    )
