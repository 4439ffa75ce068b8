"""Estimates of a plan's cost, before anything expensive runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.core.roles import Role
from auditor.engine.calibration import Calibration, calibrate, expected, timed
from auditor.engine.capacity import Capacity, capacity, jobs_of, shapes_of, workload
from auditor.engine.expansion import Variant
from auditor.engine.job import Job
from auditor.engine.machine import Machine
from auditor.engine.preparation import Prepared
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore

_HOUR = 3600


@dataclass(frozen=True)
class Estimate:
    """Rough cost of one variant over all arms."""

    label: str
    role: Role
    """Role in the verdict."""
    unavailable: Message | None
    jobs: int
    """Number of searches and measurements; a search that variants share counts with each."""
    done: int
    """Jobs whose evidence is in the store already."""
    forward_tokens: int
    """Tokens of the jobs whose evidence is not in the store."""
    memory_bytes: int
    """Most memory of a job where its model is put."""
    seconds: float
    """Seconds of its jobs; those of a job that variants share count with the first alone."""
    least_bytes: int = 0
    """Memory without which it cannot run, however small its batches."""
    host_bytes: int = 0
    """Main memory beside."""
    disk_bytes: int = 0
    """Bytes that a job writes to disk."""
    stored_bytes: int = 0
    """Bytes of the copies that stay in the store, one for each model."""
    does_not_fit: bool = False
    """Whether it cannot run on the machine."""
    calibrated: bool = False
    """Whether finished jobs of the attack are in the store, by which its time is taken."""


@dataclass(frozen=True)
class Estimates:
    """Rough cost of a plan on a machine."""

    variants: Sequence[Estimate]
    capacity: Capacity
    calibration: Calibration
    waiting: Mapping[str, Mapping[str, float]]
    """Label of a variant to the seconds of each of its jobs that are not done, by key."""


def estimate(prepared: Prepared, store: EvidenceStore, machine: Machine) -> Estimates:
    """Estimate the cost of every variant.

    Args:
        prepared: The plan and its checked inputs.
        store: The store; what it holds is not done again, and tells how long jobs take.
        machine: The machine, measured or stated.
    """
    shapes = shapes_of(prepared)
    needs = capacity(prepared, machine, shapes)
    calibration = calibrate(prepared, store, machine, shapes)
    jobs = {
        variant.label: jobs_of(prepared, variant)
        for variant in prepared.variants
        if prepared.unavailable(variant) is None
    }
    waiting = {
        variant.label: {
            job.key: calibration.seconds(
                timed(job),
                expected(variant.attack, needs.needs[variant.label][Arm(arm).model].seconds),
            )
            for arm, job in jobs[variant.label]
            if not store.has(job.key)
        }
        for variant in prepared.variants
        if variant.label in jobs
    }
    counted: set[str] = set()
    found = []
    for variant in prepared.variants:
        own = waiting.get(variant.label, {})
        seconds = sum(cost for key, cost in own.items() if key not in counted)
        counted |= own.keys()
        found.append(
            _of_variant(prepared, variant, jobs.get(variant.label, []), own, needs, calibration)
        )
        found[-1] = replace(found[-1], seconds=seconds)
    return Estimates(found, needs, calibration, waiting)


def _of_variant(
    prepared: Prepared,
    variant: Variant,
    jobs: Sequence[tuple[str, Job]],
    waiting: Mapping[str, float],
    needs: Capacity,
    calibration: Calibration,
) -> Estimate:
    """Estimate one variant, its time aside."""
    unavailable = prepared.unavailable(variant)
    if unavailable is not None:
        return Estimate(variant.label, variant.role, unavailable, 0, 0, 0, 0, 0.0)
    keys = {job.key for _, job in jobs}
    own = needs.needs[variant.label].values()
    work = workload(prepared, everything=variant.attack.name == AS_IS)
    measured = {job.key for _, job in jobs if job.stage == "measure"} & waiting.keys()
    return Estimate(
        label=variant.label,
        role=variant.role,
        unavailable=None,
        jobs=len(keys),
        done=len(keys) - len(waiting),
        forward_tokens=variant.attack.forward_tokens(work.tokens) * len(measured),
        memory_bytes=max(one.device for one in own),
        seconds=0.0,
        least_bytes=max(one.least for one in own),
        host_bytes=max(one.host for one in own),
        disk_bytes=max(one.disk for one in own),
        stored_bytes=sum(one.stored for one in own),
        does_not_fit=bool(needs.of(variant.label)),
        calibrated=calibration.knows(variant.attack),
    )


_WORTH = (Role.MANDATORY, Role.WAIVED, Role.ADVISORY, Role.REPORTED)
"""Roles in the order of what their attacks are worth."""


def within(prepared: Prepared, estimates: Estimates, seconds: float) -> Prepared:
    """Leave out what a time does not allow, in order of worth.

    What is asked without attack comes first, then what a PASS needs, what can turn a verdict, and
    what is only reported; of equals the quickest. What is left out stays in the list of attacks as
    not run, so that it blocks a PASS where it is mandatory.

    Args:
        prepared: The plan and its checked inputs.
        estimates: Estimates of its variants.
        seconds: The time.

    Raises:
        AuditorError: Not even the questions without attack can be asked in that time.
    """
    waiting = estimates.waiting
    order = sorted(
        (v for v in prepared.variants if v.label in waiting),
        key=lambda v: (
            v.attack.name != AS_IS,
            _WORTH.index(v.role),
            sum(waiting[v.label].values()),
        ),
    )
    left, taken = seconds, set[str]()
    dropped: dict[str, Message] = {}
    for variant in order:
        own = waiting[variant.label]
        cost = sum(each for key, each in own.items() if key not in taken)
        if cost <= left:
            left -= cost
            taken |= own.keys()
            continue
        if variant.attack.name == AS_IS:
            raise AuditorError(
                f"asking the models without any attack is taken to need {cost / _HOUR:.2f} hours, "
                f"and --within gives {seconds / _HOUR:.2f}; give more time."
            )
        dropped[variant.label] = message("left_out_for_time", limit=seconds, needed=cost)
    return prepared.only([replace(v, left_out_for=dropped.get(v.label)) for v in prepared.variants])
