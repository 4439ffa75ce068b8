"""Estimates of a plan's cost, before anything expensive runs."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from auditor.core.arms import Arm
from auditor.core.messages import Message
from auditor.core.roles import Role
from auditor.engine.preparation import Prepared
from auditor.metrics.metric import METRICS
from auditor.models.checkpoint_files import quantization_method
from auditor.models.kind import Workload
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore

_EFFICIENCY = 0.25
"""Share of a matrix product's speed that whole forward passes are taken to reach."""
_LOAD_BYTES_PER_SECOND = 5e8


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
    """Size of the largest arm's weights, as stored."""
    seconds: float


def estimate(prepared: Prepared, store: EvidenceStore) -> list[Estimate]:
    """Estimate the cost of every variant.

    It is parameters times tokens at the measured speed of this machine.
    """
    rate = operations_per_second()
    kind = prepared.plan.kind
    sizes = {
        arm: weights_size(kind.weights_folder(location))
        for arm, location in prepared.locations.items()
    }
    largest = max(size for _, size in sizes.values())
    found = []
    for variant in prepared.variants:
        role = variant.role
        unavailable = prepared.unavailable(variant)
        if unavailable is not None:
            found.append(Estimate(variant.label, role, unavailable, 0, 0, 0, 0, 0.0))
            continue
        searches = prepared.searches(variant) if variant.attack.searches else {}
        by_arm = prepared.measurements(variant, searches)
        waiting = [(a, j) for a, jobs in by_arm.items() for j in jobs if not store.has(j.key)]
        keys = {j.key for found in (searches, by_arm) for jobs in found.values() for j in jobs}
        everything, needs = variant.attack.name == AS_IS, variant.attack.requires
        work = workload(prepared, everything=everything)
        tokens = variant.attack.forward_tokens(work.tokens)
        seconds = sum(
            2 * sizes[arm][0] * tokens * work.uses / rate + sizes[arm][1] / _LOAD_BYTES_PER_SECOND
            for arm, _ in waiting
        )
        found.append(
            Estimate(
                label=variant.label,
                role=role,
                unavailable=None,
                jobs=len(keys),
                done=sum(map(store.has, keys)),
                forward_tokens=tokens * len(waiting),
                memory_bytes=largest + (sizes[Arm.ORIGINAL][1] if needs.donor else 0),
                seconds=seconds,
            )
        )
    return found


def workload(prepared: Prepared, *, everything: bool) -> Workload:
    """Estimate one evaluation of the original; ``everything`` is with the holdout."""
    metrics = [METRICS.get(name) for name in prepared.plan.metrics.all]
    return prepared.plan.kind.workload(
        prepared.plan.original,
        prepared.locations["original"],
        prepared.sets,
        holdout=everything,
        generates=any(metric.generates for metric in metrics),
        chooses=any(metric.chooses for metric in metrics),
    )


def weights_size(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of the weights in a folder, from the headers."""
    parameters = size = 0
    for file in sorted(folder.glob("*.safetensors")):
        size += file.stat().st_size
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                parameters += math.prod(tensors.get_slice(name).get_shape())
    if quantization_method(folder):
        parameters *= 2
    if not parameters:
        size = sum(file.stat().st_size for file in _pickled(folder))
        parameters = size // 2
    return parameters, size


def _pickled(directory: Path) -> list[Path]:
    return [*directory.glob("*.bin"), *directory.glob("*.pt")]


def operations_per_second(width: int = 1024, repetitions: int = 4) -> float:
    """Estimate the speed of whole forward passes on this machine.

    It is taken from that of a matrix product.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.ones(width, width, device=device)
    matrix @ matrix
    began = time.perf_counter()
    for _ in range(repetitions):
        product = matrix @ matrix
    product.sum().item()
    return _EFFICIENCY * 2 * width**3 * repetitions / (time.perf_counter() - began)
