"""Estimate of the cost of a plan's positive controls."""

from auditor.core.arms import Arm
from auditor.core.roles import ControlKind, Role
from auditor.engine.capacity import Capacity, workload
from auditor.engine.estimate import Estimate
from auditor.engine.expansion import Variant
from auditor.engine.preparation import Prepared
from auditor.policy import AS_IS
from auditor.positive_controls.control_models import SETTINGS
from auditor.positive_controls.runner import by_hidden_control
from auditor.unlearning.adam import ROUNDED_BYTES

_WEIGHT = 4
"""Bytes of each weight while a control is made: all are in float32."""
_ASIDE = 20
"""Bytes of each trained weight in main memory: its bounds, its start, and two looks."""


def estimate_controls(prepared: Prepared, needs: Capacity) -> Estimate:
    """Estimate the cost of the controls and their measurements.

    Evidence that is there already is not deducted.

    Making one is taken to need all the steps that it is allowed. Where an attack searches, the
    control's findings join the pool, so that the other arms are measured again.

    Args:
        prepared: The plan and its checked inputs.
        needs: Needs of its attacks, with the shapes of its models and the machine.
    """
    mandatory = [v for v in prepared.variants if v.role is Role.MANDATORY]
    held = [v for v in mandatory if prepared.unavailable(v) is None]
    as_is = [v for v in held if v.attack.name == AS_IS]
    groups: list[tuple[ControlKind, list[Variant]]] = [("visible", held)]
    for hidden, variants in by_hidden_control(held, prepared.plan):
        others = [v for v in as_is if v not in variants]
        groups.append((hidden.kind, [*others, *variants]))
    work = workload(prepared, everything=False)
    evaluation = work.tokens
    measured = [variant for _, variants in groups for variant in variants]
    jobs = sum(_jobs(prepared, variant) for variant in measured)
    tokens = sum(_making(prepared, kind, evaluation) for kind, _ in groups) + sum(
        _jobs(prepared, variant) * variant.attack.forward_tokens(evaluation) for variant in measured
    )
    shape = needs.shapes[Arm.ORIGINAL]
    trained = shape.linear
    memory = round(_WEIGHT * shape.parameters + (4 + ROUNDED_BYTES) * trained)
    free = needs.machine.memory(prepared.plan.original.device_map)
    return Estimate(
        label=f"positive controls ({len(groups)} models)",
        role=Role.MANDATORY,
        unavailable=None,
        jobs=jobs,
        done=0,
        forward_tokens=tokens,
        memory_bytes=memory,
        least_bytes=memory,
        does_not_fit=free is not None and memory > free,
        host_bytes=_ASIDE * trained,
        stored_bytes=sum(needs.needs[v.label][Arm.ORIGINAL].stored for v in measured),
        seconds=2 * shape.active * tokens * work.uses / needs.machine.operations,
    )


def _making(prepared: Prepared, kind: ControlKind, evaluation: int) -> int:
    """Estimate the tokens of making a control.

    They are of all the steps that it may take, and of the looks at what is left.
    """
    settings = SETTINGS[kind]
    asked = len(prepared.sets.forget) + len(prepared.sets.retain)
    batch = settings.forget_batch + settings.retain_batch
    training = 3 * settings.max_steps * batch * evaluation // asked
    return training + settings.max_steps // settings.check_every * evaluation


def _jobs(prepared: Prepared, variant: Variant) -> int:
    seeds = len(prepared.plan.attack_seeds) if variant.attack.seeded else 1
    return seeds * (1 + len(prepared.plan.arms) if variant.attack.searches else 1)
