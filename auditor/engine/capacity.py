"""Memory, disk and time that an audit needs.

No model is opened for it: they follow from the configurations of the models, the headers of their
files, and what attacks say of themselves (`Attack.footprint`, `Attack.forward_tokens`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from auditor.attack import AnyAttack
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.core.roles import Role
from auditor.engine.expansion import Variant
from auditor.engine.job import Job
from auditor.engine.machine import GB, Machine
from auditor.engine.preparation import Prepared
from auditor.metrics.metric import METRICS
from auditor.models.kind import Workload
from auditor.models.manifest import Location
from auditor.models.served import SERVED
from auditor.models.shape import Shape
from auditor.models.spec import LOGITS_BUDGET, TOKEN_BUDGET
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore

_LEAST_TOKENS = 64
"""Tokens of a batch of one item, to which batches shrink where memory is short."""
_STATES = 16
"""Numbers of the size of a state that one block holds at a time for each token."""
_BACKWARD = 24
"""Numbers of the size of a state that each block keeps of a token for a backward pass."""
_FLOAT_ROWS = 1024
"""Answer positions whose logits are turned to float32 at a time."""
_FLOAT = 4
"""Bytes of a logit as it is made."""
_FLOATS = 12
"""Bytes of each of these logits: three copies in float32."""
_KERNELS = 30
"""Operations of a block, each of which costs at least its launch."""
_TRAINED_AT_ONCE = 512
"""Tokens of a batch while an attack searches or trains."""
_LOW_RANK = 16
"""Bytes of each number of a low-rank adapter: weight, gradient and two moments."""
_SCALE = 1_000_000
_HEADERS = 0.01
"""Share of a weight file that its header may take."""
_ROOM = 1.1
"""Memory beside weights and batches that several accelerators need, as a share."""


class Seconds(NamedTuple):
    """Seconds of a job."""

    asking: float
    """Those of its evaluations, which grow with the facts."""
    own: float
    """Those of what the attack does beside: searching, training, copying."""

    @property
    def all(self) -> float:
        """Seconds of both."""
        return self.asking + self.own

    def times(self, factor: float) -> "Seconds":
        """So many times of both."""
        return Seconds(self.asking * factor, self.own * factor)


class Need(NamedTuple):
    """Need of one job."""

    device: int
    """Bytes where the model is put, at their most."""
    least: int
    """Bytes without which it cannot run, however small its batches."""
    host: int
    """Bytes of main memory beside."""
    disk: int
    """Bytes that are written to disk, scratch files and what stays."""
    seconds: "Seconds"
    """Time on the machine, by the sizes of what is computed alone."""
    only_read: bool = True
    """Whether weights are only read, so that a part of them may lie in main memory."""
    stored: int = 0
    """Bytes of a copy that stays in the store, for other jobs on the model."""


def need(
    attack: AnyAttack,
    shape: Shape,
    work: Workload,
    machine: Machine,
    *,
    budget: int = TOKEN_BUDGET,
    donor: Shape | None = None,
    merged: bool = False,
    stored: bool = True,
    engine: int = 0,
) -> Need:
    """Return what a job of an attack needs, its search included.

    Args:
        attack: The attack at its level.
        shape: Shape of the model.
        work: One evaluation of it.
        machine: The machine.
        budget: Padded tokens in a batch.
        donor: Shape of the model from which tensors are taken.
        merged: Whether a copy needs the model's weights written first (an adapter was merged).
        stored: Whether the model's files hold its weights in the type that they have in memory.
        engine: Bytes that an engine holds beside the network, for as long as the network is open.
    """
    own = attack.footprint
    beside = own.kept * shape.linear + own.trained * shape.parameters
    beside += own.rank * shape.sides * _LOW_RANK + own.embeddings * shape.embeddings
    weights = float(shape.loaded)
    rest = (shape.parameters - shape.linear) * shape.itemsize
    if own.copy:  # it takes the model's place
        copied = (own.copy + own.making) * shape.linear + rest
        weights = max(copied, weights) if merged else copied
    beside += donor.loaded if donor is not None else 0
    engine *= not own.copy  # it ends with the network whose place a copy takes
    beside += engine
    batch, training = max(1, min(budget, work.tokens)), own.backward * _backward(shape)
    parts = min(own.backward, _LEAST_TOKENS) * _backward(shape)
    least = min(training, parts + own.accumulated * shape.parameters)
    written = own.written * shape.linear + rest * bool(own.written)
    disk = written + merged * shape.loaded * bool(own.copy)
    return Need(
        device=round(weights + beside + max(training, _asking(shape, batch))),
        least=round(weights + beside + max(least, _asking(shape, min(batch, _LEAST_TOKENS)))),
        host=round(
            shape.loaded * (own.aside or (own.lent and not stored))
            + machine.libraries * (own.process + bool(engine))
        ),
        disk=round(disk),
        seconds=_seconds(attack, shape, work, machine, budget),
        only_read=not (own.copy or own.lent or own.trained or own.backward),
        stored=round(written) if own.stored else 0,
    )


def _asking(shape: Shape, tokens: int) -> float:
    """Bytes that a batch takes.

    They are states, and logits of answers or what attention keeps.

    Answers that are scored are read without keys and values, and those that are written without
    logits of other places than the last.
    """
    logits = min(tokens * shape.vocabulary, LOGITS_BUDGET) * _FLOAT
    floats = min(tokens, _FLOAT_ROWS) * shape.vocabulary * _FLOATS
    kept = tokens * shape.cache * shape.itemsize
    return tokens * _STATES * shape.width * shape.itemsize + max(kept, logits + floats)


def _backward(shape: Shape) -> float:
    """Bytes of a token whose states a backward pass needs."""
    each = shape.itemsize
    return _BACKWARD * shape.layers * shape.width * each + shape.vocabulary * (each + _FLOATS)


def _seconds(
    attack: AnyAttack, shape: Shape, work: Workload, machine: Machine, budget: int
) -> Seconds:
    """Seconds of one job: what is computed, launched, read and copied."""
    fixed = attack.forward_tokens(0)
    evaluations = (attack.forward_tokens(_SCALE) - fixed) / _SCALE
    asked = evaluations * work.tokens
    token = 2 * shape.active * work.uses / machine.operations
    launches = shape.layers * _KERNELS * machine.overhead
    asking = asked * token + (asked / budget + evaluations) * launches
    step = shape.active * shape.itemsize / machine.bandwidth
    asking += work.steps * evaluations * (attack.metric is None) * (step + launches)
    own = attack.footprint
    beside = fixed * token + fixed / _TRAINED_AT_ONCE * launches
    beside += own.weights_read * shape.linear / machine.drawing
    beside += own.columns * shape.sides / 2 * machine.overhead
    beside += own.lent * 4 * shape.loaded / machine.bandwidth  # digests, changes and restoring
    beside += bool(own.copy) * shape.stored / machine.loading
    return Seconds(asking, beside)


class Fit(NamedTuple):
    """A need beside what there is."""

    arm: str
    label: str
    """Attack and level."""
    place: str
    """Where memory is short."""
    least: int
    free: int


def fits(
    machine: Machine, spec_map: str | None, wanted: Need, arm: str, label: str
) -> Iterator[Fit]:
    """Yield where a need is larger than what there is.

    Args:
        machine: The machine.
        spec_map: Device map of the model.
        wanted: The need.
        arm: The model's arm.
        label: The attack and its level.
    """
    free = machine.memory(spec_map)
    on_host = not machine.gpus or (spec_map or "").startswith("cpu")
    if on_host and machine.host is not None:
        least = wanted.least + wanted.host
        if least > machine.host:
            yield Fit(arm, label, "main memory", least, machine.host)
    else:
        if free is not None and wanted.only_read and spec_map and ":" not in spec_map:
            free += machine.host or 0  # accelerate puts there what is left over
        if free is not None and wanted.least > free:
            yield Fit(arm, label, "memory of accelerators", wanted.least, free)
        if machine.host is not None and wanted.host > machine.host:
            yield Fit(arm, label, "main memory", wanted.host, machine.host)
    if machine.disk is not None and wanted.disk > machine.disk:
        yield Fit(arm, label, "disk", wanted.disk, machine.disk)


@dataclass(frozen=True)
class Capacity:
    """Needs of an audit on a machine."""

    machine: Machine
    shapes: Mapping[str, Shape]
    """Shape of each arm's model."""
    needs: Mapping[str, Mapping[str, Need]]
    """Label of a variant to the need of a job by arm; of those that can be measured."""
    lacks: Sequence[Fit]
    """Jobs that cannot run on the machine."""

    def of(self, label: str) -> tuple[Fit, ...]:
        """What one variant lacks."""
        return tuple(lack for lack in self.lacks if lack.label == label)


def shapes_of(prepared: Prepared) -> dict[str, Shape]:
    """Return the shape of each arm's model."""
    kind = prepared.plan.kind
    return {
        arm: kind.shape(spec, prepared.locations[arm]) for arm, spec in prepared.plan.arms.items()
    }


def workload(
    prepared: Prepared,
    *,
    everything: bool,
    sets: FactSets | None = None,
    metrics: Sequence[str] | None = None,
) -> Workload:
    """Estimate one evaluation of the original.

    Args:
        prepared: The plan and its checked inputs.
        everything: Whether the holdout is asked, too.
        sets: The facts, by default the plan's.
        metrics: Names of the metrics, by default the plan's.
    """
    asked = [METRICS.get(name) for name in metrics or prepared.plan.metrics.all]
    return prepared.plan.kind.workload(
        prepared.plan.original,
        prepared.locations["original"],
        sets or prepared.sets,
        holdout=everything,
        generates=any(metric.generates for metric in asked),
        chooses=any(metric.chooses for metric in asked),
    )


def capacity(
    prepared: Prepared,
    machine: Machine,
    shapes: Mapping[str, Shape],
    *,
    least_alone: bool = False,
) -> Capacity:
    """Return what the variants of an audit need and lack.

    Args:
        prepared: The plan and its checked inputs.
        machine: The machine.
        shapes: Shape of each arm's model.
        least_alone: Whether no more than the least need is asked for, which no facts decide.
    """
    needs: dict[str, dict[str, Need]] = {}
    lacks: list[Fit] = []
    works = {
        everything: Workload(_LEAST_TOKENS)
        if least_alone
        else workload(prepared, everything=everything)
        for everything in (True, False)
    }
    engines = {arm: _engine(prepared, machine, arm, shapes[arm]) for arm in prepared.plan.arms}
    for variant in prepared.variants:
        if prepared.unavailable(variant) is not None:
            continue
        own = needs.setdefault(variant.label, {})
        work = works[variant.attack.name == AS_IS]
        for arm, spec in prepared.plan.arms.items():
            own[arm] = need(
                variant.attack,
                shapes[arm],
                work,
                machine,
                budget=prepared.plan.token_budget,
                donor=shapes[Arm.ORIGINAL] if variant.attack.requires.donor else None,
                merged=prepared.locations[arm].adapter is not None,
                stored=_is_stored(shapes[arm], prepared.locations[arm]),
                engine=engines[arm],
            )
            lacks += fits(machine, spec.device_map, own[arm], arm, variant.label)
    return Capacity(machine, shapes, needs, lacks)


def _engine(prepared: Prepared, machine: Machine, arm: str, shape: Shape) -> int:
    """Return the bytes that an engine holds beside an arm's network.

    They are 0 where none is asked: without one in the plan, of files that none can hold, and of a
    network that is spread, over accelerators or into main memory.
    """
    spec, location = prepared.plan.arms[arm], prepared.locations[arm]
    settings = prepared.plan.generation
    if settings is None or SERVED.get(spec.kind).unsuited(spec, location) is not None:
        return 0
    free = machine.memory(spec.device_map)
    if machine.spreads(spec.device_map) or (free is not None and shape.loaded > free):
        return 0
    return settings.held(shape.loaded)


def jobs_of(prepared: Prepared, variant: Variant) -> list[tuple[str, Job]]:
    """Return the searches and measurements of a variant, each with its arm."""
    searches = prepared.searches(variant) if variant.attack.searches else {}
    by_arm = prepared.measurements(variant, searches)
    return [(arm, job) for found in (searches, by_arm) for arm in found for job in found[arm]]


def _is_stored(shape: Shape, location: Location) -> bool:
    """Whether a model's files hold its weights as they are in memory."""
    same = abs(shape.loaded - shape.stored) < _HEADERS * shape.stored
    return same and location.adapter is None and location.replacement is None


def check_fits(found: Capacity, prepared: Prepared, store: EvidenceStore) -> None:
    """Refuse a plan whose models or mandatory attacks do not fit.

    Other attacks that cannot run fail by themselves, and block no PASS. What is in the store needs
    no machine.

    Args:
        found: Needs of the plan on the machine.
        prepared: The plan and its checked inputs.
        store: The store.

    Raises:
        AuditorError: Names the bytes that are needed and free, and what to change.
    """
    needed = {
        v.label: v for v in prepared.variants if v.role is Role.MANDATORY or v.attack.name == AS_IS
    }
    lacks = [
        lack
        for lack in found.lacks
        if lack.label in needed and _waits(prepared, needed[lack.label], lack.arm, store)
    ]
    if not lacks:
        return
    plain = [lack for lack in lacks if needed[lack.label].attack.name == AS_IS]
    shown = plain or lacks
    largest = {(lack.label, lack.place): lack for lack in sorted(shown, key=lambda one: one.least)}
    lines = [
        f"  {lack.label} on {lack.arm} needs {lack.least / GB:.1f} GB of {lack.place}, and "
        f"{lack.free / GB:.1f} GB are free"
        for lack in largest.values()
    ]
    served = prepared.plan.generation is not None
    raise AuditorError(
        f"the plan does not fit on {found.machine.name}:\n" + "\n".join(lines) + "\n"
        f"{_way_out(found.machine, max(lack.least for lack in shown), bool(plain), served)} "
        "--even-if-it-does-not-fit runs it all the same."
    )


def _waits(prepared: Prepared, variant: Variant, arm: str, store: EvidenceStore) -> bool:
    """Whether a model must be opened for a variant."""
    jobs = jobs_of(prepared, variant)
    return any(Arm(of).model == arm and not store.has(job.key) for of, job in jobs)


def _way_out(machine: Machine, least: int, whole: bool, served: bool) -> str:
    """Return what to change.

    Args:
        machine: The machine.
        least: Bytes that are needed.
        whole: Whether not even the questions without attack fit.
        served: Whether an engine holds the weights a second time.
    """
    ways = ["Open the models in a smaller type (`dtype: bfloat16`)"]
    if machine.gpus:
        count = math.ceil(_ROOM * least / max(1, min(machine.gpus)))
        ways.append(
            f"spread them over {count} such accelerators (`device_map: auto`)"
            if count > 1
            else "put them on an accelerator that is free (`device_map: cuda:1`)"
        )
    if served:
        ways.append("leave `generation` out, or give it less `memory`")
    ways.append("take a larger machine")
    if not whole:
        ways.append(
            "take the attacks off the policy's `mandatory:` list, which the certificate will show"
        )
    return f"{', or '.join(ways)}."
