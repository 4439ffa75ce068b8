"""Whether stored evidence is what a certificate says it is."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from auditor.attack import ATTACKS
from auditor.certificate.schema import Certificate, MatrixRow
from auditor.core.arms import Arm
from auditor.core.errors import ContradictedError, EvidenceChangedError
from auditor.core.hashing import digest
from auditor.core.progress import Progress
from auditor.data.null_facts import worlds
from auditor.engine.plan import AuditPlan
from auditor.engine.shared_plan import shared_parameters
from auditor.models.kind import kind_named
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore
from auditor.verification.circumstances import stated_plan
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
    for use in _uses(certificate):
        _check_foreign(certificate, store, use)
    if certificate.converted_from is None:  # earlier plans have other forms
        plan = stated_plan(certificate)
        for use in _uses(certificate):
            _check_otherwise_asked(plan, store, use)


class _Use(NamedTuple):
    """Jobs as a certificate uses them."""

    row: MatrixRow
    jobs: dict[str, tuple[str, ...]]
    digests: dict[str, str]
    """Digests of the models by arm."""
    controlled: bool = False
    """Whether a positive control stands for the unlearned model."""


def _uses(certificate: Certificate) -> Iterator[_Use]:
    """Yield the jobs of all rows, and those of positive controls."""
    digests = {part.arm: part.digest for part in certificate.identity.arms}
    for row in certificate.matrix:
        yield _Use(row, row.jobs, digests)
    rows = {row.label: row for row in certificate.matrix}
    as_is = next(row for row in certificate.matrix if row.attack == AS_IS)
    for part in certificate.positive_controls:
        for model in filter(None, (part.visible, part.obfuscated)):
            others = {**digests, Arm.UNLEARNED: model.digest}
            yield _Use(rows[part.attack], model.jobs, others, controlled=True)
            yield _Use(as_is, model.as_is, others, controlled=True)


def _check_otherwise_asked(plan: AuditPlan, store: EvidenceStore, use: _Use) -> None:
    """Refuse jobs that were not asked as the plan has it.

    The same model's other settings, and other seeds, are evidence of another audit.

    Raises:
        ContradictedError: says what a job was asked otherwise, or how many are not the plan's.
    """
    attack = use.row.attack
    seeds: tuple[int, ...] | None = None
    if attack in ATTACKS.names():
        seeds = plan.attack_seeds if ATTACKS.metadata(attack).seeded else (0,)
    for arm, keys in use.jobs.items():
        if seeds is not None and len(keys) != len(seeds):
            raise ContradictedError(
                f"{use.row.label}, {arm}: the certificate uses {len(keys)} jobs, and its plan asks "
                f"for {len(seeds)}."
            )
        for index, key in enumerate(keys):
            said = store.identity(key)
            seed = said.get("seed") if seeds is None else seeds[index]
            expected = _as_planned(plan, Arm(arm).model, seed, use)
            _check_like(said, expected, f"{use.row.label}, {arm}: the job {key[:12]}…")
            _check_searches(plan, store, use, arm, said)


def _check_searches(
    plan: AuditPlan, store: EvidenceStore, use: _Use, arm: str, said: dict[str, Any]
) -> None:
    """Refuse a job that measured other searches than those of all arms.

    Raises:
        ContradictedError: names the search, or says whose are missing.
    """
    pool = said.get("pool") or ()
    place = f"{use.row.label}, {arm}: the search"
    world = [Arm(other).model for other in use.jobs if Arm(other).world == Arm(arm).world]
    attack = use.row.attack
    searches = attack in ATTACKS.names() and ATTACKS.metadata(attack).searches
    if (pool or searches) and sorted(entry["arm"] for entry in pool) != sorted(world):
        raise ContradictedError(f"{place}es are not those of all models that were asked alike.")
    for entry in pool:
        search = store.identity(entry["key"])
        expected = _as_planned(plan, entry["arm"], said.get("seed"), use)
        expected |= {"stage": "search", "attack": attack, "facts": said.get("facts")}
        _check_like(search, expected, f"{place} {entry['key'][:12]}…")


def _check_like(said: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    """Refuse an identity that differs from what is expected of it.

    Raises:
        ContradictedError: names the first part that does.
    """
    if other := [name for name, value in expected.items() if said.get(name) != value]:
        raise ContradictedError(f"{what} was asked with another {other[0]} than the plan's.")


def _as_planned(plan: AuditPlan, arm: str, seed: int | None, use: _Use) -> dict[str, Any]:
    """Return what the identity of a model's job says of the plan.

    Raises:
        ContradictedError: the plan has no such model.
    """
    stands_for = Arm.ORIGINAL if use.controlled and arm == Arm.UNLEARNED else arm
    spec = plan.arms.get(stands_for)
    if spec is None:
        raise ContradictedError(f"{use.row.label}: the certificate's plan has no model {arm}.")
    return {
        "model": use.digests.get(arm),
        "dtype": spec.dtype,
        "options": kind_named(spec.kind).options(spec),
        "format": plan.format.model_dump(mode="json"),
        "metrics": list(plan.metrics.all),
        "seed": seed,
    }


def _check_foreign(certificate: Certificate, store: EvidenceStore, use: _Use) -> None:
    row, digests = use.row, use.digests
    sets = store.facts(certificate.identity.facts_digest)
    others = {
        world: digest(facts.model_dump(mode="json"))
        for world, facts in worlds(sets, certificate.verdict.baseline).items()
    }
    takes = row.attack in ATTACKS.names() and ATTACKS.metadata(row.attack).requires.donor
    prompts = certificate.reproduction.prompts
    own = {key for keys in row.jobs.values() for key in keys}
    for arm, keys in use.jobs.items():
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
