"""Whether stored evidence is what a certificate says it is."""

from typing import Any

from auditor.attack import ATTACKS
from auditor.certificate.schema import Certificate, ControlModelPart, MatrixRow
from auditor.core.arms import Arm
from auditor.core.errors import ContradictedError, EvidenceChangedError
from auditor.core.hashing import digest
from auditor.core.progress import Progress
from auditor.data.null_facts import worlds
from auditor.engine.shared_plan import shared_parameters
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore
from auditor.verification.unreadable import refused_if_unreadable


@refused_if_unreadable()
def check_changed(certificate: Certificate, store: EvidenceStore, progress: Progress) -> int:
    """Check every file of the evidence, and each job's identity.

    Args:
        certificate: what it lists must be there.
        store: the evidence.
        progress: is told how far it has come.

    Returns:
        How many jobs were looked at.

    Raises:
        EvidenceChangedError: a file was changed, is missing, or is other evidence than the
            certificate's.
        ContradictedError: a job measured another model, attack or set of facts than the certificate
            uses it for.
    """
    with progress.task("reading the evidence", len(certificate.evidence.jobs)) as advance:
        for key, claimed in certificate.evidence.jobs.items():
            if store.seal(key) != claimed:
                raise EvidenceChangedError(
                    f"the evidence of job {key} in {store.name} is not the evidence that the "
                    "certificate was made from."
                )
            advance(1, key[:12])
    check_foreign(certificate, store)
    return len(certificate.evidence.jobs)


def check_foreign(certificate: Certificate, store: EvidenceStore) -> None:
    """Check what each job that a certificate uses was asked.

    Raises:
        EvidenceChangedError: An identity is missing, or is not what its job is named by.
        ContradictedError: A job measured another model, attack or set of facts than the certificate
            uses it for.
    """
    for key in certificate.evidence.jobs:
        store.identity(key)
    digests = {part.arm: part.digest for part in certificate.identity.arms}
    for row in certificate.matrix:
        _check_foreign(certificate, store, row, row.jobs, digests)
    rows = {row.label: row for row in certificate.matrix}
    as_is = next(row for row in certificate.matrix if row.attack == AS_IS)
    for part in certificate.positive_controls:
        for model in filter(None, (part.visible, part.obfuscated)):
            _check_foreign_control(certificate, store, rows[part.attack], as_is, model)


def _check_foreign_control(
    certificate: Certificate,
    store: EvidenceStore,
    row: MatrixRow,
    as_is: MatrixRow,
    model: ControlModelPart,
) -> None:
    digests = {part.arm: part.digest for part in certificate.identity.arms}
    digests[Arm.UNLEARNED] = model.digest
    _check_foreign(certificate, store, row, model.jobs, digests)
    _check_foreign(certificate, store, as_is, model.as_is, digests)


def _check_foreign(
    certificate: Certificate,
    store: EvidenceStore,
    row: MatrixRow,
    jobs: dict[str, tuple[str, ...]],
    digests: dict[str, str],
) -> None:
    sets = store.facts(certificate.identity.facts_digest)
    others = {
        world: digest(facts.model_dump(mode="json"))
        for world, facts in worlds(sets, certificate.verdict.baseline).items()
    }
    takes = row.attack in ATTACKS.names() and ATTACKS.metadata(row.attack).requires.donor
    prompts = certificate.reproduction.prompts
    own = {key for keys in row.jobs.values() for key in keys}
    for arm, keys in jobs.items():
        if len(set(keys)) < len(keys):
            raise ContradictedError(f"{row.label} uses a job of {arm} twice.")
        for key in keys:
            said = store.identity(key)
            donor = said.get("donor", {}).get("model")
            if takes and donor != digests.get(Arm.ORIGINAL):
                raise ContradictedError(
                    f"{row.label}, {arm}: the job {key[:12]}… took tensors from another model than "
                    "the original."
                )
            expected = {
                "stage": "measure",
                "attack": row.attack,
                "parameters": row.parameters,
                "model": digests.get(Arm(arm).model),
                "facts": others.get(Arm(arm).world, certificate.identity.facts_digest),
                "auxiliary": certificate.identity.auxiliary_inputs or {},
            }
            if prompts is not None and key in own:
                expected["prompts"] = prompts.digests.get(Arm(arm).model)
            if "kind" in said:
                expected["kind"] = certificate.identity.kind
            said |= {"parameters": _shared(row.attack, said.get("parameters", {}), row.parameters)}
            for name, value in expected.items():
                if said.get(name, {}) != value:
                    raise ContradictedError(
                        f"{row.label}, {arm}: the job {key[:12]}… measured another {name} than the "
                        "certificate says."
                    )


def _shared(attack: str, measured: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a job without local paths."""
    if measured == stated or attack not in ATTACKS.names():
        return measured
    return shared_parameters(attack, measured)
