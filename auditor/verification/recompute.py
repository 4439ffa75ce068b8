"""Recomputation of a certificate from its evidence.

The result is compared with what the certificate says.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from auditor.attack import ATTACKS, AttackMetadata
from auditor.certificate.decision import decide_verdict
from auditor.certificate.derived import derived_parts, row_means
from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.redaction import marker, redact
from auditor.certificate.schema import (
    Certificate,
    EvidencePart,
    IdentityPart,
    MatrixRow,
    PositiveControlPart,
    set_digests,
)
from auditor.core.aliases import attack_parameters
from auditor.core.errors import ContradictedError
from auditor.core.extras import MissingExtraError
from auditor.core.findings import AttackReport, SelfCheck
from auditor.core.hashing import digest
from auditor.core.roles import Role
from auditor.engine.attack_report import attack_report
from auditor.engine.expansion import instantiate
from auditor.engine.plan import AuditPlan
from auditor.statistics import AttackAssessment, Decision
from auditor.store.base import EvidenceStore
from auditor.verification.circumstances import (
    control_again,
    controls_missing,
    devices_used,
    evidence_used,
    formats_again,
    stated_plan,
    tokens_used,
    warnings_again,
    weights_again,
)
from auditor.verification.converted import comparable
from auditor.verification.differences import differences
from auditor.verification.load import inapplicable, load_inputs
from auditor.verification.planned import planned
from auditor.verification.unreadable import refused_if_unreadable

_SHOWN = 5
"""Most differences that an error lists."""


@refused_if_unreadable()
def check_contradiction(certificate: Certificate, store: EvidenceStore) -> tuple[str, ...]:
    """Refuse a certificate that contradicts its evidence.

    Everything that follows from the evidence is computed again.

    Values and messages are compared, and no sentence: how something is worded decides nothing.

    Args:
        certificate: certificate as it was given.
        store: its evidence.

    Returns:
        Labels of the attacks whose own reports (what they say beside K) were taken as they stand,
        because the packages that they need are not installed. Verdict and figures never need them.

    Raises:
        ContradictedError: the evidence leads to another verdict, or to other figures; says which.
        EvidenceChangedError: evidence is missing or was changed.
        AuditorError: an attack of the certificate is not installed here.
    """
    inputs = load_inputs(certificate, store)
    silent = {row.attack for row in certificate.matrix if not _loads(row.attack)}
    for row in certificate.matrix:
        if row.attack in silent:
            _check_parameters(row)
    again = recomputed(certificate, inputs, decide_verdict(inputs), store, silent)
    key = store.redaction_key() if certificate.redaction != "none" else None
    if key is not None:
        again = redact(again, key)
    stated, worked_out = (c.model_dump(mode="json") for c in (certificate, again))
    if certificate.converted_from is not None:
        stated, worked_out = comparable(stated, worked_out, None if key is None else marker(key))
    found = list(differences(stated, worked_out))
    verdict = next((d for d in found if d.startswith("verdict.verdict:")), None)
    if verdict:
        raise ContradictedError(f"the verdict does not follow from the evidence: {verdict}.")
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ContradictedError(
            f"the certificate does not follow from its evidence: {'; '.join(found[:_SHOWN])}{more}."
        )
    return tuple(row.label for row in certificate.matrix if row.attack in silent)


def recomputed(
    certificate: Certificate,
    inputs: DecisionInputs,
    decision: Decision,
    store: EvidenceStore,
    silent: Collection[str] = (),
) -> Certificate:
    """Return the certificate recomputed from its evidence.

    Every part that follows from the evidence is computed again.

    Args:
        certificate: what is not worked out is taken from it.
        inputs: loaded from it and its evidence.
        decision: on these inputs.
        store: its evidence, on which the attacks report again.
        silent: names of attacks that cannot report here; their reports stay as they are stated.
    """
    rows: list[MatrixRow] = []
    checks: list[SelfCheck] = []
    idle = inapplicable(certificate, inputs.policy)
    for stated, assessment in zip(certificate.matrix, decision.attacks, strict=True):
        reports = stated.attack not in silent
        row, report = (_row if reports else _silent_row)(
            stated, assessment, inputs, store, idle=stated.attack in idle
        )
        rows.append(row)
        checks += report.self_checks
    if silent:
        checks = list(certificate.self_checks)
    outcomes = {attack.id.label: attack.control for attack in inputs.attacks if attack.control}
    controls = tuple(
        part.model_copy(
            update={"found": outcomes[part.attack].found, "message": outcomes[part.attack].message}
        )
        for part in certificate.positive_controls
    )
    again = certificate.model_copy(
        update={
            **derived_parts(inputs, decision),
            "matrix": tuple(rows),
            "self_checks": tuple({check.message: check for check in checks}.values()),
            "positive_controls": controls,
            "evidence": certificate.evidence.model_copy(
                update={"digest": digest(certificate.evidence.jobs)}
            ),
        }
    )
    return again if certificate.converted_from else _circumstances(again, store, silent)


def _circumstances(
    certificate: Certificate, store: EvidenceStore, silent: Collection[str]
) -> Certificate:
    """Return a certificate with what stands beside its verdict worked out again."""
    rows = tuple(
        row.model_copy(update={"forward_tokens": tokens_used(row, store)})
        for row in certificate.matrix
    )
    attacks = {row.label: row for row in rows if row.attack not in silent}
    jobs = evidence_used(certificate, store)
    reproduction = certificate.reproduction
    hardware = {**reproduction.hardware, "device": devices_used(certificate, store)}
    plan = stated_plan(certificate)
    warnings = warnings_again(certificate, plan, rows, store)
    return planned(
        certificate.model_copy(
            update={
                "matrix": rows,
                "identity": _identity(certificate, store),
                "weights": weights_again(certificate, store),
                "positive_controls": tuple(
                    _control(part, attacks.get(part.attack), plan)
                    for part in certificate.positive_controls
                ),
                "positive_controls_missing": controls_missing(certificate, plan),
                "evidence": EvidencePart(jobs=jobs, digest=digest(jobs)),
                "warnings": warnings,
                "reproduction": reproduction.model_copy(
                    update={
                        "hardware": hardware,
                        "formats": formats_again(certificate, store),
                    }
                ),
            }
        )
    )


def _identity(certificate: Certificate, store: EvidenceStore) -> IdentityPart:
    """Return the identity with the digests of its sets."""
    identity = certificate.identity
    if identity.set_digests is None:
        return identity
    return identity.model_copy(
        update={"set_digests": set_digests(store.facts(identity.facts_digest))}
    )


def _control(
    part: PositiveControlPart, row: MatrixRow | None, plan: AuditPlan
) -> PositiveControlPart:
    if row is None:
        return part
    return control_again(part, instantiate(row.attack, row.parameters), plan)


def _row(
    stated: MatrixRow,
    assessment: AttackAssessment,
    inputs: DecisionInputs,
    store: EvidenceStore,
    *,
    idle: bool,
) -> tuple[MatrixRow, AttackReport]:
    """Return a recomputed row, and its attack's report.

    The attack says what it is itself; one that asks nothing new is only reported.
    """
    attack = instantiate(stated.attack, stated.parameters)
    report = attack_report(attack, stated.jobs, store)
    row = MatrixRow.from_assessment(
        assessment,
        row_means(inputs, assessment.evidence),
        report,
        stated.parameters,
        stated.forward_tokens,
    )
    _check_metrics(row, attack.metric, inputs)
    itself: dict[str, Any] = {"variant": attack.variant}
    if not idle and attack.decides == (row.role is Role.REPORTED):
        itself["role"] = attack.role(mandatory=False)
    return row.model_copy(update=itself), report


def _silent_row(
    stated: MatrixRow,
    assessment: AttackAssessment,
    inputs: DecisionInputs,
    store: EvidenceStore,
    *,
    idle: bool,
) -> tuple[MatrixRow, AttackReport]:
    """Return a row whose attack cannot report here.

    What the attack is itself is read without importing it.
    """
    described = ATTACKS.metadata(stated.attack)
    row = MatrixRow.from_assessment(
        assessment,
        row_means(inputs, assessment.evidence),
        stated.report,
        stated.parameters,
        stated.forward_tokens,
    )
    _check_metrics(row, described.metric, inputs)
    itself: dict[str, Any] = {
        "variant": _preset_name(described, stated.parameters) or stated.variant,
    }
    if not idle and described.decides == (row.role is Role.REPORTED):
        itself["role"] = described.role(mandatory=False)
    return row.model_copy(update=itself), stated.report


def _preset_name(described: AttackMetadata, parameters: Mapping[str, Any]) -> str | None:
    """Return the name of the preset with these parameters.

    None means that no preset has them.
    """
    settings = ATTACKS.parameters_type(described.name)
    try:
        given = settings(**attack_parameters(described.name, parameters))
    except ValidationError:  # `_check_parameters` refuses a certificate for it
        return None
    named = (p.name for p in described.presets if settings(**p.parameters) == given)
    return next(named, None)


def _check_metrics(row: MatrixRow, own: str | None, inputs: DecisionInputs) -> None:
    """Refuse a row decided by other metrics than it should be.

    They should be those of its attack, or of the plan.

    Raises:
        ContradictedError: they are others.
    """
    deciding = (own,) if own else inputs.deciding
    found = tuple(reading.metric for reading in row.readings)
    if found != deciding:
        raise ContradictedError(
            f"{row.label} is decided by {', '.join(found)} in the certificate, and by "
            f"{', '.join(deciding)} by its plan."
        )


def _check_parameters(row: MatrixRow) -> None:
    """Refuse a row whose parameters are none of its attack's.

    Raises:
        ContradictedError: they do not fit.
    """
    settings = ATTACKS.parameters_type(row.attack)
    try:
        settings(**attack_parameters(row.attack, row.parameters))
    except ValidationError as error:
        raise ContradictedError(
            f"the parameters that the certificate gives {row.label} are none of that attack's."
        ) from error


def _loads(attack: str) -> bool:
    """Whether an attack's packages are installed.

    Raises:
        AuditorError: the attack is not installed, or does not load for another reason.
    """
    try:
        ATTACKS.get(attack)
    except MissingExtraError:
        return False
    return True
