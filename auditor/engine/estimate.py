"""What a plan will cost, before anything expensive runs."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from auditor.core.messages import Message
from auditor.core.roles import Role
from auditor.engine.preparation import Prepared
from auditor.evidence.store import EvidenceStore
from auditor.metrics.metric import METRICS
from auditor.models.causal_lm.loading import load_tokenizer
from auditor.models.causal_lm.transcript import SPARE_TOKENS
from auditor.models.checkpoint_files import quantization_method, read_json
from auditor.models.manifest import Location
from auditor.policy import AS_IS

_EFFICIENCY = 0.25
"""Share of a matrix product's speed that whole forward passes are taken to reach."""
_LOAD_BYTES_PER_SECOND = 5e8


@dataclass(frozen=True)
class Estimate:
    """Rough cost of one variant over all arms."""

    label: str
    role: Role
    """In the verdict."""
    unavailable: Message | None
    jobs: int
    """Searches and measurements; a search that variants share counts with each."""
    done: int
    """Jobs whose evidence is in the store already."""
    forward_tokens: int
    """For the jobs that are not."""
    memory_bytes: int
    """Weights of the largest arm, as stored."""
    seconds: float


def estimate(prepared: Prepared, store: EvidenceStore) -> list[Estimate]:
    """Estimate every variant: parameters times tokens at the measured speed of this machine."""
    rate = operations_per_second()
    sizes = {arm: weights_size(location) for arm, location in prepared.locations.items()}
    width = positions(prepared)
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
        everything = variant.attack.name == AS_IS
        tokens = variant.attack.forward_tokens(evaluation_tokens(prepared, everything))
        seconds = sum(
            2 * sizes[arm][0] * tokens * width / rate + sizes[arm][1] / _LOAD_BYTES_PER_SECOND
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
                memory_bytes=largest,
                seconds=seconds,
            )
        )
    return found


def evaluation_tokens(prepared: Prepared, with_holdout: bool) -> int:
    """Tokens of one evaluation, by the original's tokenizer; or rows through a UNet."""
    plan = prepared.plan
    if plan.unlearned.kind == "text-to-image":
        drawing = plan.original.drawing
        drawn = len(prepared.sets.forget) + len(prepared.sets.retain)
        return drawn * drawing.steps * (2 if drawing.guidance > 1 else 1)
    tokenizer = load_tokenizer(plan.original, prepared.locations["original"])
    facts = [*prepared.sets.forget, *prepared.sets.retain]
    if with_holdout:
        facts += prepared.sets.holdout
    prompts = [len(tokenizer(f.prompt)["input_ids"]) for f in facts]
    answers = [len(tokenizer(f.answer)["input_ids"]) for f in facts]
    tokens = sum(prompts) + sum(answers)
    metrics = [METRICS.get(name) for name in plan.metrics.all]
    if any(metric.generates for metric in metrics):
        tokens += sum(prompts) + len(facts) * (max(answers) + SPARE_TOKENS)
    if any(metric.chooses for metric in metrics):
        tokens += sum(
            (prompt + answer) * len(fact.distractors)
            for fact, prompt, answer in zip(facts, prompts, answers, strict=True)
        )
    return tokens


def positions(prepared: Prepared) -> int:
    """How often a weight is used in what counts as one token.

    Once in a language model. In a UNet a token is a whole row, whose weights slide over the
    positions of its input; most of them sit where the resolution is a fraction of that. On average
    each is used at about a ninth of the positions in Stable Diffusion 1.5 (860 M weights, some
    0.4 T multiplications for 64 x 64 latents).
    """
    if prepared.plan.unlearned.kind == "causal-lm":
        return 1
    pipeline = prepared.locations["original"].model
    side = read_json(pipeline / "unet" / "config.json").get("sample_size") or 64
    height, width = side if isinstance(side, list) else (side, side)
    drawing = prepared.plan.original.drawing
    vae = pipeline / "vae" / "config.json"
    factor = 2 ** (len(read_json(vae)["block_out_channels"]) - 1) if vae.exists() else 1
    height, width = (drawing.height or height * factor), (drawing.width or width * factor)
    return max(1, height * width // factor**2 // 9)


def weights_size(location: Location) -> tuple[int, int]:
    """Parameters and bytes of a model's weights (of a pipeline its UNet's), from the headers."""
    parameters = size = 0
    folder = location.model / "unet"
    folder = folder if folder.is_dir() else location.model
    for file in sorted(folder.glob("*.safetensors")):
        size += file.stat().st_size
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                parameters += math.prod(tensors.get_slice(name).get_shape())
    if quantization_method(location.model):
        parameters *= 2
    if not parameters:
        size = sum(file.stat().st_size for file in _pickled(folder))
        parameters = size // 2
    return parameters, size


def _pickled(directory: Path) -> list[Path]:
    return [*directory.glob("*.bin"), *directory.glob("*.pt")]


def operations_per_second(width: int = 1024, repetitions: int = 4) -> float:
    """Speed that whole forward passes are taken to reach here, from that of a matrix product."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.ones(width, width, device=device)
    matrix @ matrix
    began = time.perf_counter()
    for _ in range(repetitions):
        product = matrix @ matrix
    product.sum().item()
    return _EFFICIENCY * 2 * width**3 * repetitions / (time.perf_counter() - began)
