"""Parts of a certificate beside its verdict, worked out again.

Warnings, tokens, devices, formats of prompts, distances between weights, and the list of the
evidence itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from auditor.attack import AnyAttack
from auditor.certificate.schema import (
    Certificate,
    FormatPart,
    MatrixRow,
    PositiveControlPart,
    WeightsPart,
)
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError, ContradictedError
from auditor.core.facts import FactSets
from auditor.core.messages import Message, message
from auditor.engine.engine_report import engine_message
from auditor.engine.plan import AuditPlan, parse_plan
from auditor.engine.plan_warnings import PlannedAttack, plan_warnings
from auditor.engine.preparation import TriedFormat
from auditor.engine.registration import history_warnings
from auditor.engine.required_control import required_control
from auditor.engine.tried_formats import better_format, mean_knowledge, sample
from auditor.engine.weight_comparison import STAGE, kept_distances
from auditor.models.manifest import Location, Manifest
from auditor.models.provenance import asked_otherwise, unchecked
from auditor.models.spec import PromptFormat
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore
from auditor.verification.load import has_experts, has_traces

TAKEN = frozenset(
    {
        "begin_token_twice",
        "begin_token_within",
        "columns_not_read",
        "edges_trimmed",
        "facts_read_otherwise",
        "ids_named_apart",
        "note_on_files",
        "prompt_format_failed",
        "repeated_rows_dropped",
        "rows_not_as_published",
        "settings_differ_from_original",
        "special_tokens_in_facts",
        "stored_type_differs",
        "template_arguments_unread",
        "traces_emptied",
        "traces_known",
        "traces_split",
    }
)
"""Warnings on what was in files, and happened to them and to libraries, where the audit ran."""


def stated_plan(certificate: Certificate) -> AuditPlan:
    """Return the plan in a certificate.

    Raises:
        ContradictedError: it is no plan.
    """
    try:
        return parse_plan(certificate.reproduction.plan, "the plan in the certificate")
    except AuditorError as error:
        raise ContradictedError(f"the certificate cannot be that of an audit: {error}") from error


def evidence_used(certificate: Certificate, store: EvidenceStore) -> dict[str, str]:
    """Return the jobs that a certificate rests on, each with its digest.

    They are those of its rows and positive controls, the searches that these used, and those on
    formats of prompts and on weights.
    """
    controls = [
        jobs
        for part in certificate.positive_controls
        for model in filter(None, (part.visible, part.obfuscated))
        for jobs in (model.as_is, model.jobs)
    ]
    used = _each([*(row.jobs for row in certificate.matrix), *controls])
    searches = (entry["key"] for key in used for entry in store.identity(key).get("pool", ()))
    others = [tried.job for tried in certificate.reproduction.formats if tried.job]
    if certificate.weights is not None:
        others.append(certificate.weights.job)
    return {key: store.claimed_seal(key) for key in dict.fromkeys([*used, *searches, *others])}


def _each(tables: Iterable[Mapping[str, Sequence[str]]]) -> list[str]:
    return [key for jobs in tables for keys in jobs.values() for key in keys]


def tokens_used(row: MatrixRow, store: EvidenceStore) -> int:
    """Return the tokens of a row, as its jobs noted them.

    The searches of its own arms count; evidence without a note leaves the row's figure as it is.
    """
    noted = [store.notes(key).get("forward_tokens") for key in _with_searches(row, store)]
    counted = [tokens for tokens in noted if isinstance(tokens, int)]
    return sum(counted) if len(counted) == len(noted) else row.forward_tokens


def _with_searches(row: MatrixRow, store: EvidenceStore) -> Iterator[str]:
    for keys in row.jobs.values():
        for key in keys:
            yield key
            pool = store.identity(key).get("pool", ())
            yield from (entry["key"] for entry in pool if entry["own"])


def devices_used(certificate: Certificate, store: EvidenceStore) -> str:
    """Return the devices on which the attacks were measured."""
    keys = dict.fromkeys(key for row in certificate.matrix for key in _with_searches(row, store))
    found = (store.environment(key) for key in keys)
    return ", ".join(sorted({here.device for here in found if here is not None}))


def formats_again(certificate: Certificate, store: EvidenceStore) -> tuple[FormatPart, ...]:
    """Return what the original knows in each format.

    Raises:
        ContradictedError: a job asked another model, or in another format.
    """
    identity = certificate.identity
    original = next(part.digest for part in identity.arms if part.arm == Arm.ORIGINAL)
    asked = FactSets(forget=sample(store.facts(identity.facts_digest).forget))
    found = []
    for part in certificate.reproduction.formats:
        if part.job is None:
            found.append(part)
            continue
        said = store.identity(part.job)
        expected = {"stage": "measure", "attack": AS_IS, "model": original, "format": part.format}
        if any(said.get(name) != value for name, value in expected.items()) or (
            store.facts(said["facts"]) != asked
        ):
            raise ContradictedError(
                f"reproduction.formats: the job {part.job[:12]}… asked something else than the "
                "certificate says."
            )
        k = mean_knowledge(store, part.job, certificate.scope.primary_metric)
        found.append(part.model_copy(update={"k": k}))
    return tuple(found)


def weights_again(certificate: Certificate, store: EvidenceStore) -> WeightsPart | None:
    """Return the distances between weights that their job found.

    Raises:
        ContradictedError: the job compared other models.
    """
    part = certificate.weights
    if part is None:
        return None
    said = store.identity(part.job)
    models = {arm.arm: arm.digest for arm in certificate.identity.arms}
    if said.get("stage") != STAGE or said.get("models") != models:
        raise ContradictedError("weights: their job compared other models than the certificate's.")
    return WeightsPart.from_distances(
        part.job, int(said["budget"]), kept_distances(store, part.job)
    )


def warnings_again(
    certificate: Certificate, plan: AuditPlan, rows: Sequence[MatrixRow], store: EvidenceStore
) -> tuple[Message, ...]:
    """Return warnings that follow from plan, facts, files, record and evidence.

    Those on what happened on the machine of the audit are taken as they stand, at their places.

    Args:
        certificate: names files and earlier audits.
        plan: its plan.
        rows: rows of its matrix, worked out again.
        store: holds the facts.
    """
    sets = store.facts(certificate.identity.facts_digest)
    attacks = [PlannedAttack(row.label, row.role, row.parameters) for row in rows]
    found = plan_warnings(plan, attacks, sets, _locations(certificate, store))
    built = certificate.identity.built
    found += [*unchecked(built, sets.forget), *asked_otherwise(built, plan.format)]
    tried = [_tried(part) for part in certificate.reproduction.formats]
    asked = len(sample(sets.forget))
    better = better_format(tried, asked, plan.metrics.primary) if tried else None
    past = (audit.facts_digest for audit in certificate.identity.earlier_audits)
    expected = [*found, *([better] if better else []), *history_warnings(sets, store, past)]
    expected += filter(None, [_engine(rows, store)])
    again = iter(expected)
    kept = [s if s.code in TAKEN else next(again, None) for s in certificate.warnings]
    return (*filter(None, kept), *again)


def _engine(rows: Sequence[MatrixRow], store: EvidenceStore) -> Message | None:
    """Return what an engine wrote for a matrix, searches included."""
    used = dict.fromkeys(_each([row.jobs for row in rows]))
    searches = (entry["key"] for key in used for entry in store.identity(key).get("pool", ()))
    return engine_message(store, dict.fromkeys([*used, *searches]))


def _locations(certificate: Certificate, store: EvidenceStore) -> dict[str, Location]:
    """Return the files of the models as the certificate lists them."""
    experts, traces = has_experts(certificate, store), has_traces(certificate, store)
    return {
        part.arm: Location(
            model=Path(),
            adapter=None,
            manifest=Manifest(files=part.files),
            beside=part.beside,
            experts=experts,
            traces=traces,
        )
        for part in certificate.identity.arms
    }


def _tried(part: FormatPart) -> TriedFormat:
    return TriedFormat(PromptFormat.model_validate(part.format), part.k, part.job or "", "")


def controls_missing(certificate: Certificate, plan: AuditPlan) -> Message | None:
    """Return why a certificate has no positive controls, or None.

    Raises:
        ContradictedError: it has some that its plan does not ask for, or lacks those that it does.
    """
    asked, given = plan.runs_controls, bool(certificate.positive_controls)
    unasked = message("positive_controls_not_asked")
    if given and not asked:
        raise ContradictedError("positive_controls: the plan asks for none.")
    if not asked:
        return unasked
    stated = certificate.positive_controls_missing
    if given is (stated is not None) or stated == unasked:
        raise ContradictedError(
            "positive_controls: the plan asks for them, and there are none, or both some and a "
            "reason why there are none."
        )
    return stated


def control_again(
    part: PositiveControlPart, attack: AnyAttack, plan: AuditPlan
) -> PositiveControlPart:
    """Return a positive control as its attack asks for it.

    Args:
        part: the control as it is stated.
        attack: the attack with its parameters.
        plan: the plan of the audit.
    """
    from auditor.models.grid import rounding_grid  # it imports torch, as the attack does

    required, grid = required_control(attack, plan), rounding_grid(attack)
    visible = part.visible.model_copy(update={"kind": "visible", "grid": None})
    hidden = part.obfuscated and part.obfuscated.model_copy(
        update={
            "kind": "obfuscated" if required == "visible" else required,
            "grid": grid.name if grid else None,
        }
    )
    return part.model_copy(update={"required": required, "visible": visible, "obfuscated": hidden})
