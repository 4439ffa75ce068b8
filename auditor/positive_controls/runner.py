"""Positive controls, in which mandatory attacks must find something.

An attack that finds nothing proves something only if it would have found something. A copy of
the original in which the forget answers are suppressed by a known method is audited in place of
the unlearned model, with the same attacks, parameters, seeds and statistics; the evidence on the
original and the retrained models is that of the audit itself.

An attack says to which of several kinds it is held; what it makes of the visible one is shown.
In the *visible* control clearly more is left than the margin allows: an attack that names it
neither blurs nor destroys what is there. In the *obfuscated* control nothing is left to be seen:
it is for attacks that claim to bring knowledge back, and suppressed in output head and last norm
alone for those that look there. Its weights are rescaled afterwards wherever that leaves the
function, for what trains must not depend on their scale. For those that round weights one by one it
stays within the cells of their rounding (arXiv 2405.18137), so that the rounding undoes it.
They are not held to the visible control, for coarse rounding does blur what is half forgotten, and
a model under audit must pass as it is besides.

The model as it is, is held to a control that still says its answers in *wording* of its own, where
some deciding metric reads what is said: the primary metric finds nothing there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from auditor.certificate.build import ControlResults, audited_inputs
from auditor.certificate.control_outcomes import ControlMeasurement, control_outcome
from auditor.certificate.decision import assess_controls, decide_verdict
from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.schema import ControlModelPart, PositiveControlPart
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.errors import DoesNotFitError, MeasurementError, UnavailableError
from auditor.core.faults import is_out_of_memory
from auditor.core.messages import Message, message
from auditor.core.progress import Progress
from auditor.core.roles import ControlKind
from auditor.engine.audit import AuditOutcome, run_audit
from auditor.engine.executors.base import Executor
from auditor.engine.expansion import Variant
from auditor.engine.plan import AuditPlan
from auditor.engine.preparation import Prepared
from auditor.engine.required_control import required_control
from auditor.models.checkpoint_files import quantization_method
from auditor.models.grid import Grid, rounding_grid
from auditor.policy import AS_IS
from auditor.positive_controls.control_models import ControlModels, Known, PositiveControlModel
from auditor.statistics import Decision
from auditor.store.base import EvidenceStore


def run_controls(
    outcome: AuditOutcome, store: EvidenceStore, executor: Executor, progress: Progress
) -> ControlResults:
    """Make positive controls and attack them.

    Every mandatory attack looks for what they hold.

    Args:
        outcome: the audit, finished; attacks that left no evidence are not held to anything.
        store: where evidence and controls are kept.
        executor: runs the attacks on the controls.
        progress: is told how far it has come.
    """
    inputs = audited_inputs(outcome)
    decision = decide_verdict(inputs)
    known = _known(inputs, decision)
    if isinstance(known, Message):
        return ControlResults(missing=known)
    models = ControlModels(outcome.prepared, known, store, progress)
    visible = _made(outcome, models, "visible")
    if isinstance(visible, Message):
        return ControlResults(missing=message("visible_control_not_made", reason=visible))
    held = [
        run.variant
        for run, assessment in zip(outcome.runs, decision.attacks, strict=True)
        if assessment.mandatory and assessment.figures is not None
    ]
    shares = {assessed.evidence.id: assessed.parts for assessed in decision.attacks}
    seals: dict[str, str] = {}

    def measured(
        model: PositiveControlModel, variants: Sequence[Variant]
    ) -> dict[AttackId, _Measured]:
        seen = run_audit(_with_control(outcome, model, variants), store, executor, progress)
        seals.update(seen.seals)
        return _measured(audited_inputs(seen), model, shares)

    on_visible = measured(visible, held)
    on_obfuscated: dict[AttackId, _Measured | Message] = {}
    for hidden, variants in by_hidden_control(held, outcome.prepared.plan):
        model = _made(outcome, models, hidden.kind, hidden.grid)
        if isinstance(model, Message):
            on_obfuscated |= {variant.id: model for variant in variants}
        else:
            seen = measured(model, variants)
            on_obfuscated |= {variant.id: seen[variant.id] for variant in variants}
    plan = outcome.prepared.plan
    parts = tuple(
        _part(v, required_control(v.attack, plan), on_visible[v.id], on_obfuscated[v.id])
        for v in held
    )
    return ControlResults(parts, seals=seals)


@dataclass(frozen=True)
class _Measured:
    """An attack's measurement of a control, and where the evidence is."""

    measurement: ControlMeasurement
    part: ControlModelPart


def _measured(
    inputs: DecisionInputs, model: PositiveControlModel, shares: Mapping[AttackId, int]
) -> dict[AttackId, _Measured]:
    as_is = dict(inputs.as_is.jobs)
    return {
        assessment.evidence.id: _Measured(
            ControlMeasurement(
                model.kind,
                model.grid,
                model.left,
                model.rescaled,
                assessment,
                inputs.policy.alpha,
            ),
            ControlModelPart(
                kind=model.kind,
                grid=model.grid,
                left=model.left,
                rescaled=model.rescaled or None,
                digest=model.location.manifest.digest,
                as_is=as_is,
                jobs=dict(assessment.evidence.jobs),
                status=assessment.evidence.status if assessment.evidence.reason else None,
                reason=assessment.evidence.reason,
            ),
        )
        for assessment in assess_controls(inputs, shares)
    }


def _part(
    variant: Variant,
    required: ControlKind,
    visible: _Measured,
    obfuscated: _Measured | Message,
) -> PositiveControlPart:
    missing = obfuscated if isinstance(obfuscated, Message) else None
    outcome = control_outcome(
        variant.label,
        required,
        visible.measurement,
        obfuscated if isinstance(obfuscated, Message) else obfuscated.measurement,
    )
    return PositiveControlPart(
        attack=variant.label,
        required=required,
        found=outcome.found,
        message=outcome.message,
        visible=visible.part,
        obfuscated=None if isinstance(obfuscated, Message) else obfuscated.part,
        missing=missing,
    )


def _made(
    outcome: AuditOutcome, models: ControlModels, kind: ControlKind, grid: Grid | None = None
) -> PositiveControlModel | Message:
    """A control, or why it cannot be made."""
    method = quantization_method(outcome.prepared.locations[Arm.ORIGINAL].model)
    if method:
        return message("quantized_weights_not_trainable", method=method)
    try:
        return models.make_control_model(kind, grid)
    except (
        MeasurementError,
        UnavailableError,
        DoesNotFitError,
        RuntimeError,
        MemoryError,
    ) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        return message("error", quoted=("error",), type=type(error).__name__, error=str(error))


def _known(inputs: DecisionInputs, decision: Decision) -> Known | Message:
    """Return what O and R know without attack.

    A message instead says why no control can be made of that.
    """
    if not inputs.sets["retain"]:
        return message("retain_set_missing")
    entry = next(attack for attack in decision.attacks if attack.evidence.baseline)
    if entry.evidence.arms is None:
        return message("nothing_measured_without_attack")
    if not entry.counts:
        return message("nothing_known_to_suppress")
    arms = entry.evidence.arms
    return Known(float(arms.original.mean()), arms.baseline_mean)


class HiddenControl(NamedTuple):
    """A control in which nothing is left to be seen."""

    kind: ControlKind
    grid: Grid | None
    """Within whose cells its weights stay, if any."""


def by_hidden_control(
    variants: Sequence[Variant], plan: AuditPlan
) -> list[tuple[HiddenControl, list[Variant]]]:
    """Group variants that share a hidden control.

    In a hidden control nothing is left to be seen.

    It is the one that they must find; those that are held to the visible control get the
    obfuscated one.
    """
    groups: dict[tuple[str, str | None], tuple[HiddenControl, list[Variant]]] = {}
    for variant in variants:
        required = required_control(variant.attack, plan)
        hidden = HiddenControl(
            "obfuscated" if required == "visible" else required, rounding_grid(variant.attack)
        )
        key = hidden.kind, hidden.grid.name if hidden.grid else None
        groups.setdefault(key, (hidden, []))[1].append(variant)
    return list(groups.values())


def _with_control(
    outcome: AuditOutcome, model: PositiveControlModel, variants: Sequence[Variant]
) -> Prepared:
    """Return the audit with a control as the unlearned model.

    It has some of the audit's variants.
    """
    prepared = outcome.prepared
    return replace(
        prepared,
        plan=prepared.plan.model_copy(update={"unlearned": model.spec}),
        locations={**prepared.locations, Arm.UNLEARNED: model.location},
        audited=prepared.locations,
        asked={**prepared.asked, Arm.UNLEARNED: prepared.asked[Arm.ORIGINAL]},  # as its copy
        variants=[v for v in prepared.variants if v in variants or v.attack.name == AS_IS],
    )
