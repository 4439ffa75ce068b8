"""What the store remembers of a model's audits, held against a certificate.

Stores of earlier releases remember less, and one that was thrown away remembers nothing; where a
store says nothing of an audit, nothing is compared.
"""

from auditor.certificate.schema import Certificate, EarlierAuditPart
from auditor.core.arms import Arm
from auditor.core.errors import ContradictedError
from auditor.store.base import EvidenceStore
from auditor.store.history import History, PastAudit
from auditor.store.ledger import Ledger


def check_unrecorded(certificate: Certificate, store: EvidenceStore) -> tuple[str, ...]:
    """Refuse a certificate that leaves out what its store remembers.

    Args:
        certificate: names the earlier policies and audits of its model.
        store: its evidence.

    Returns:
        Fields that the store says nothing about.

    Raises:
        ContradictedError: the store remembers other audits, or not this one among them.
        AuditorError: its record cannot be read.
    """
    if certificate.converted_from is not None:
        return ()
    unknown: list[str] = []
    if not _policies_checked(certificate, store):
        unknown.append("identity.earlier_policies")
    if not _audits_checked(certificate, store):
        unknown += ["identity.earlier_audits", "identity.plan_digest", "reproduction.plan"]
    return tuple(unknown)


def _policies_checked(certificate: Certificate, store: EvidenceStore) -> bool:
    identity = certificate.identity
    ledger = Ledger(
        store,
        _unlearned(certificate),
        identity.facts_digest,
        identity.policy_digest,
        certificate.policy.name,
    )
    others = ledger.others()
    if others is None:
        return False
    if others != identity.earlier_policies:
        raise ContradictedError(
            f"identity.earlier_policies: the certificate names {len(identity.earlier_policies)} "
            f"other policies under which this was audited before, the ledger {len(others)}."
        )
    return True


def _audits_checked(certificate: Certificate, store: EvidenceStore) -> bool:
    identity = certificate.identity
    history = History(store, _unlearned(certificate))
    if not any(True for _ in history.audits()):
        return False
    own = PastAudit(
        plan=identity.plan_digest,
        policy=identity.policy_digest,
        facts=identity.facts_digest,
        seeds=certificate.reproduction.seeds,
        at=certificate.timing.started,
    )
    if not history.holds(own):
        raise ContradictedError(
            "identity.plan_digest: the store remembers audits of this model, and none by the "
            "certificate's plan on its facts."
        )
    earlier = tuple(EarlierAuditPart.from_past(past) for past in history.before(own))
    if earlier != identity.earlier_audits:
        raise ContradictedError(
            f"identity.earlier_audits: the certificate names {len(identity.earlier_audits)} "
            "earlier audits of this model on other facts or with other seeds, the store "
            f"{len(earlier)}, or others."
        )
    return True


def _unlearned(certificate: Certificate) -> str:
    """Digest of the unlearned model's files."""
    arms = {part.arm: part.digest for part in certificate.identity.arms}
    return arms.get(Arm.UNLEARNED, "")
