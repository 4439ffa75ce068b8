"""Read, verify and gate certificates. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.certificate.files import EVIDENCE, evidence_beside
from auditor.certificate.schema import Certificate
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.core.progress import Progress, SilentProgress
from auditor.core.reading import read_regular
from auditor.engine.expansion import default_labels
from auditor.policy import Policy, check_expired, load_policy
from auditor.signing.envelope import open_envelope
from auditor.signing.keyless import Identity, open_bundle
from auditor.signing.keys import load_public_key
from auditor.signing.reading import read
from auditor.store.base import EvidenceStore
from auditor.store.places import open_place
from auditor.verification.coverage import Ground, on_signature_alone
from auditor.verification.evidence import check_changed
from auditor.verification.evidence_rows import evidence_rows
from auditor.verification.gate import Gated, measured_kind
from auditor.verification.gate import gate as decide_again
from auditor.verification.model import check_false_arms, check_other_model, check_other_weights
from auditor.verification.planned import check_unplanned
from auditor.verification.recompute import check_contradiction
from auditor.verification.record import check_unrecorded
from auditor.verification.validity import check_expired_certificate

if TYPE_CHECKING:  # the light core has no pandas
    import pandas as pd


@dataclass(frozen=True)
class Signed:
    """A certificate, and who signed it."""

    certificate: Certificate
    signers: tuple[str, ...] | None
    """Ids of the trusted keys that signed; None where no key was given to check them by."""
    claimed: tuple[str, ...] | None
    """Ids of the keys that are said to have signed; None where it is no signed envelope."""


@dataclass(frozen=True)
class Verification:
    """Checks of a certificate, all of which held."""

    certificate: Certificate
    signers: tuple[str, ...] | None
    """Ids of the trusted keys that signed; None where no key was given."""
    claimed: tuple[str, ...] | None
    """Ids of the keys that are said to have signed; None where it is no signed envelope."""
    jobs: int | None
    """Jobs whose evidence was checked and worked out again; None where there was no evidence."""
    store: str | None
    """Path of the store of that evidence."""
    not_recomputed: tuple[str, ...]
    """Attacks whose own reports could not be worked out again, because they are not installed."""
    models: Mapping[str, Path]
    """Folder that was compared with each arm."""
    signature_alone: tuple[str, ...]
    """Fields that nothing but the signature vouches for."""


@dataclass(frozen=True)
class GateResult(Gated):
    """A policy's verdict on a certificate's evidence.

    It also says who signed the certificate.
    """

    certificate: Certificate
    signers: tuple[str, ...] | None
    """Ids of the trusted keys that signed; None where no key was given."""


def load_certificate(path: str | Path) -> Certificate:
    """Read a certificate or a signed envelope; no signature is checked.

    Raises:
        MalformedError: It is no certificate.
        AlteredError: It was edited.
    """
    return read(Path(path))[0]


def load_signed(
    path: str | Path,
    keys: Sequence[str | Path] = (),
    threshold: int = 1,
    identity: Identity | None = None,
) -> Signed:
    """Read a certificate, and check its signatures where signers are given.

    Args:
        path: A certificate, a signed envelope or a Sigstore bundle.
        keys: Public keys (PEM files) that are trusted.
        threshold: How many of them must have signed.
        identity: Whose keyless signature counts.

    Raises:
        AuditorError: A signature does not hold; each way has an exit code of its own.
    """
    file = Path(path)
    if identity is not None:
        if keys:
            raise AuditorError(
                "keys and an identity are given; an envelope is signed with keys, a Sigstore "
                "bundle under an identity."
            )
        bundle = open_bundle(read_regular(file), identity, str(file))
        return Signed(bundle.certificate, bundle.keys, bundle.keys)
    if not keys:
        certificate, claimed = read(file)
        return Signed(certificate, None, claimed)
    trusted = [load_public_key(Path(key)) for key in keys]
    opened = open_envelope(read_regular(file), trusted, threshold, str(file))
    return Signed(opened.certificate, opened.keys, opened.keys)


def open_evidence(path: str | Path, store: str | Path | None = None) -> EvidenceStore:
    """Open the evidence of a certificate to be read.

    Args:
        path: The certificate's file.
        store: Folder or URL of the evidence, by default the one that `evidence_beside` finds.

    Raises:
        EvidenceChangedError: There is none.
    """
    found = evidence_beside(path) if store is None else store
    if found is None:
        raise EvidenceChangedError(
            f"there is no folder {EVIDENCE} beside {path} or one folder up; name its store (on the "
            "command line: --evidence)."
        )
    return open_place(found, read_only=True)


def verify(
    path: str | Path,
    *,
    keys: Sequence[str | Path] = (),
    threshold: int = 1,
    identity: Identity | None = None,
    store: str | Path | None = None,
    models: Mapping[str, str | Path] | Sequence[str] = (),
    require_evidence: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Check a certificate: signature, schema, validity, evidence, verdict, models.

    The verdict and every figure are worked out again from the evidence.

    Args:
        path: A certificate, a signed envelope or a Sigstore bundle.
        keys: Public keys (PEM files) that are trusted; without any, signatures are not checked.
        threshold: How many of them must have signed.
        identity: Whose keyless signature counts, of a Sigstore bundle; in place of keys.
        store: Folder or URL of the evidence, by default the one that `evidence_beside` finds; where
            there is none, the evidence is not checked, and the result says so.
        models: Arm to a folder that should hold the audited model; or ``ARM=DIR`` texts, where
            a folder alone is the unlearned model's.
        require_evidence: Refuse a certificate whose evidence is not there.
        progress: Is told how far the check has come.

    Raises:
        AuditorError: Something does not hold; each way has an exit code of its own.
    """
    signed = load_signed(path, keys, threshold, identity)
    certificate = signed.certificate
    check_expired_certificate(certificate, datetime.now(UTC))
    check_false_arms(certificate)
    check_unplanned(certificate)
    jobs, name = None, None
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    grounds = {Ground.PLAN}
    given = evidence_beside(path) if store is None else store
    if given is None and require_evidence:
        raise EvidenceChangedError(
            f"there is no folder {EVIDENCE} beside {path} or one folder up, so the verdict cannot "
            "be worked out again; name the store (on the command line: --evidence)."
        )
    if given is not None:
        held = open_evidence(path, given)
        name = held.name
        jobs = check_changed(certificate, held, progress or SilentProgress())
        missing = check_contradiction(certificate, held)
        unknown = check_unrecorded(certificate, held)
        grounds |= {Ground.EVIDENCE, Ground.RECORD}
    compared = _by_arm(certificate, models)
    located = {arm: check_other_model(certificate, arm, at) for arm, at in compared.items()}
    check_other_weights(certificate, located, progress or SilentProgress())
    if located.keys() == {part.arm for part in certificate.identity.arms}:
        grounds.add(Ground.MODEL)
    return Verification(
        certificate=certificate,
        signers=signed.signers,
        claimed=signed.claimed,
        jobs=jobs,
        store=name,
        not_recomputed=missing,
        models=compared,
        signature_alone=on_signature_alone(certificate, grounds, unknown),
    )


def gate(
    path: str | Path,
    policy: str | Path | Policy,
    *,
    keys: Sequence[str | Path] = (),
    threshold: int = 1,
    identity: Identity | None = None,
    store: str | Path | None = None,
) -> GateResult:
    """Decide again under a policy, from stored evidence and without any model.

    Args:
        path: A certificate or a signed envelope.
        policy: A policy, the name of a ready-made one, or a policy file.
        keys: Public keys (PEM files) that are trusted; without any, signatures are not checked.
        threshold: How many of them must have signed.
        identity: Whose keyless signature counts, of a Sigstore bundle; in place of keys.
        store: Folder or URL of the evidence, by default the one that `evidence_beside` finds.

    Raises:
        AuditorError: The certificate or its evidence does not hold, or the policy is expired.
    """
    now = datetime.now(UTC)
    demanded = policy if isinstance(policy, Policy) else load_policy(str(policy))
    check_expired(demanded, now.date())
    signed = load_signed(path, keys, threshold, identity)
    check_expired_certificate(signed.certificate, now, demanded.valid_days)
    held = open_evidence(path, store)
    default: tuple[str, ...] = ()
    if demanded.mandatory is None:
        default = default_labels(measured_kind(signed.certificate, held))
    gated = decide_again(signed.certificate, held, demanded, default)
    return GateResult(**vars(gated), certificate=signed.certificate, signers=signed.signers)


def evidence(path: str | Path, store: str | Path | None = None) -> "pd.DataFrame":
    """Read the evidence of a certificate as one flat table.

    Args:
        path: A certificate or a signed envelope.
        store: Folder or URL of the evidence, by default the one that `evidence_beside` finds.

    Returns:
        One row a fact, metric, seed, arm and attack: attack, variant, arm, seed, set, fact,
        entity, metric, k (in [0, 1]), answer.

    Raises:
        EvidenceChangedError: Evidence is missing, or is not what the certificate was made from.
    """
    held = open_evidence(path, store)
    return evidence_rows(load_certificate(path), held, answers=True).to_pandas()


def _by_arm(
    certificate: Certificate, models: Mapping[str, str | Path] | Sequence[str]
) -> dict[str, Path]:
    """Arm to the folder that is compared with it."""
    if isinstance(models, Mapping):
        return {arm: Path(folder) for arm, folder in models.items()}
    arms = {part.arm for part in certificate.identity.arms}
    found = {}
    for given in models:
        arm, _, folder = given.partition("=")
        found[arm if arm in arms else str(Arm.UNLEARNED)] = Path(folder if arm in arms else given)
    return found
