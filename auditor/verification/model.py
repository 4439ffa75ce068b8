"""Whether a model on disk is the one that was audited."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.certificate.redaction import MARK
from auditor.certificate.schema import ArmPart, Certificate, WeightsPart, arm_options
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError, ContradictedError, ModelDiffersError
from auditor.core.hashing import digest, has_digest
from auditor.core.kept_digests import hashed_anew
from auditor.core.paths import path_type
from auditor.core.progress import Progress
from auditor.models.kind import parse_spec
from auditor.models.manifest import Location
from auditor.models.opening import locate
from auditor.models.spec import ModelSpec
from auditor.models.weight_distances import weight_distances
from auditor.verification.differences import differences
from auditor.verification.planned import planned_model


def check_false_arms(certificate: Certificate) -> None:
    """Refuse a certificate whose files contradict its digests.

    The evidence is about models by their digests. Without this, other files could be listed under
    the digest of the audited ones.

    Raises:
        ContradictedError: names the model, or says that the models are not those of the plan.
    """
    plan = certificate.reproduction.plan
    baselines = [Arm.retrained(number) for number in range(len(plan.get("retrained", ())))]
    baselines += [Arm.reference(number) for number in range(len(plan.get("reference", ())))]
    expected = [Arm.UNLEARNED, Arm.ORIGINAL, *baselines]
    if [part.arm for part in certificate.identity.arms] != expected:
        raise ContradictedError("the certificate's models are not those of its plan.")
    named = certificate.identity.plan_digest
    if not has_digest(plan, named) and not _is_redacted(certificate):
        raise ContradictedError("the certificate's plan does not have the digest that it names.")
    for part in certificate.identity.arms:
        if part.options != arm_options(_planned(certificate, part.arm)):
            raise ContradictedError(
                f"the certificate says of {part.arm} what its plan does not: it has other "
                f"{', '.join(part.options or {}) or 'settings'} there."
            )
        if digest(part.files) != part.digest:
            raise ContradictedError(
                f"the files that the certificate lists for {part.arm} do not have the digest that "
                "it names for them."
            )


def _is_redacted(certificate: Certificate) -> bool:
    """Whether texts in a certificate's plan were replaced."""
    plan = certificate.reproduction.plan
    said = f"{plan.get('attacks')} {plan.get('about')}"
    return certificate.redaction != "none" and MARK in said


def check_other_model(certificate: Certificate, arm: str, folder: Path) -> Location:
    """Compare a model's folder with an arm of the certificate.

    The folder is hashed, whatever is known of it. What else makes the model (an adapter, a
    tokenizer of its own, weights in place of others) is a name in the certificate unless it is on
    the hub, and is looked for in the folder, beside it, and in the working folder.

    Args:
        certificate: that names the arm's files.
        arm: which of its models.
        folder: where the model lies.

    Returns:
        The model's files.

    Raises:
        AuditorError: the certificate has no such arm.
        ModelDiffersError: names the files that differ, are missing or are new; every file counts
            that was not there when the model was audited, whatever its form.
    """
    parts = {part.arm: part for part in certificate.identity.arms}
    if arm not in parts:
        raise AuditorError(f"the certificate has no model {arm}; it has {', '.join(parts)}.")
    part = parts[arm]
    spec = _spec(certificate, arm)
    at = {"path": str(folder), "revision": None}
    spec = spec.model_copy(update={**_found_beside(spec, folder), **at})
    try:
        with hashed_anew():
            found = locate(spec)
    except AuditorError as error:
        raise ModelDiffersError(
            f"{folder} is not the {arm} model that was audited: {error}"
        ) from error
    differing = _differing(part, found.manifest.files)
    differing += [f"{name} is new" for name in found.beside if name not in part.beside]
    if differing:
        raise ModelDiffersError(
            f"{folder} is not the {arm} model that was audited: {', '.join(differing)}."
        )
    return found


def check_other_weights(
    certificate: Certificate, locations: Mapping[str, Location], progress: Progress
) -> None:
    """Compare the weights of models on disk with the certificate's figures.

    Only pairs of which both models are given are compared.

    Args:
        certificate: says how far apart the weights of its models are.
        locations: the models' files by arm.
        progress: is told how far it has come.

    Raises:
        ContradictedError: the weights of two models are at another distance.
    """
    part = certificate.weights
    if part is None or len(locations) <= 1:
        return
    arms = sorted(locations, key=lambda arm: Arm(arm).place)
    seed = next(a.digest for a in certificate.identity.arms if a.arm == Arm.UNLEARNED)
    given = {arm: locations[arm] for arm in arms}
    again = WeightsPart.from_distances(
        part.job, part.budget, weight_distances(given, seed, progress, part.budget)
    )
    stated = {(pair.one, pair.other): pair.model_dump() for pair in part.pairs}
    for pair in again.pairs:
        found = differences(
            stated.get((pair.one, pair.other)),
            pair.model_dump(),
            f"weights.{pair.one}.{pair.other}",
            "the files",
        )
        if difference := next(found, None):
            raise ContradictedError(f"the weights are not as the certificate says: {difference}.")


def _spec(certificate: Certificate, arm: str) -> ModelSpec:
    return parse_spec(_planned(certificate, arm))


def _found_beside(spec: ModelSpec, folder: Path) -> dict[str, str]:
    """Return the places of parts that a certificate only names."""
    found = {}
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if isinstance(value, str) and path_type(field.annotation, field.metadata) is not None:
            places = (folder / value, folder.absolute().parent / value, Path.cwd() / value)
            there = next((place for place in places if place.exists()), None)
            if there is not None:
                found[name] = str(there)
    return found


def _planned(certificate: Certificate, arm: str) -> Mapping[str, Any]:
    """Return the plan's description of a model."""
    said = planned_model(certificate.reproduction.plan, arm)
    if not said:
        raise ContradictedError(f"the certificate's plan does not say what {arm} is.")
    return said


def _differing(part: ArmPart, files: dict[str, str]) -> list[str]:
    found = []
    for name in sorted(part.files.keys() | files.keys()):
        if name not in files:
            found.append(f"{name} is missing")
        elif name not in part.files:
            found.append(f"{name} is new")
        elif files[name] != part.files[name]:
            found.append(f"{name} was changed")
    return found
