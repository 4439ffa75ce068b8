"""Decision of a verdict again, under a policy.

It needs stored evidence and no model.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from auditor.certificate.decision import decide_verdict
from auditor.certificate.derived import verdict_part
from auditor.certificate.schema import Certificate, VerdictPart
from auditor.core.arms import Arm
from auditor.core.errors import ContradictedError
from auditor.models.kind import default_kind
from auditor.policy import AS_IS, Policy
from auditor.store.base import EvidenceStore
from auditor.store.columns import DECIDING
from auditor.verification.evidence import check_foreign
from auditor.verification.load import load_inputs, under_policy
from auditor.verification.planned import check_unplanned
from auditor.verification.record import check_unrecorded
from auditor.verification.unreadable import refused_if_unreadable


@dataclass(frozen=True)
class Gated:
    """Verdict of a policy on a certificate's evidence.

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


@refused_if_unreadable()
def measured_kind(certificate: Certificate, store: EvidenceStore) -> str:
    """Return the kind of models that the evidence is about.

    Its jobs say it under their own digest.

    Raises:
        ContradictedError: the certificate names no evidence of the model as it is.
        EvidenceChangedError: that evidence is missing or was changed.
    """
    as_is = next((row for row in certificate.matrix if row.attack == AS_IS), None)
    keys = as_is.jobs.get(Arm.UNLEARNED, ()) if as_is else ()
    if not keys:
        raise ContradictedError(
            "the certificate names no evidence of the unlearned model as it is."
        )
    return str(store.identity(keys[0]).get("kind") or default_kind().name)


@refused_if_unreadable()
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
        EvidenceChangedError: evidence is missing or was changed.
        ContradictedError: a job measured something else than the certificate uses it for.
        AuditorError: the policy demands an attack that is only reported, or waives none of its
            demands.
    """
    check_unplanned(certificate)
    check_unrecorded(certificate, store)
    check_foreign(certificate, store)
    inputs = load_inputs(certificate, store, DECIDING)
    again, missing = under_policy(inputs, certificate, policy, tuple(default))
    return Gated(
        verdict=verdict_part(again, decide_verdict(again)),
        policy=policy,
        same_policy=policy.has_digest(certificate.identity.policy_digest),
        missing=tuple(attack.label for attack in missing),
    )
