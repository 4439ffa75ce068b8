"""How well noise and rounding of an unlearned model are told from honest retrained models.

    python -m benchmarks.made_from WORLD [WORLD ...]

A world is a folder of models as the testbeds and the truth table keep them (`subjects` or `models`
with `original`, `retrained-0`, `retrained-1` and others). Each other model is put on trial as the
unlearned one, beside the two retrained models and beside copies of itself with noise and rounding.
Prints Markdown: how many of each lie within the bounds of `engine.copies`, and the nearest of the
others.

No prediction was written down before the first run, from which the bounds were taken.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from auditor.engine import copies
from auditor.models.weight_change import carried

Weights = Mapping[str, Tensor]

BASELINES = ("retrained-0", "retrained-1")
GROUP = 32
"""Weights that share a step of rounding."""


def noisy(size: float) -> Callable[[Tensor], Tensor]:
    """Return what adds noise of a share of a tensor's root mean square."""
    draw = torch.Generator().manual_seed(0)

    def made(weight: Tensor) -> Tensor:
        scale = size * weight.square().mean().sqrt()
        return weight + scale * torch.randn(weight.shape, generator=draw)

    return made


def rounded(bits: int) -> Callable[[Tensor], Tensor]:
    """Return what rounds a matrix to the nearest of 2^bits values between the ends of a group."""

    def made(weight: Tensor) -> Tensor:
        if weight.ndim < 2:
            return weight
        flat = weight.flatten()
        groups = torch.nn.functional.pad(flat, (0, -len(flat) % GROUP)).view(-1, GROUP)
        low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
        step = ((high - low) / (2**bits - 1)).clamp(min=1e-12)
        again = ((groups - low) / step).round() * step + low
        return again.flatten()[: len(flat)].view(weight.shape)

    return made


COPIES = {
    "noise of 0.5 %": noisy(0.005),
    "noise of 10 %": noisy(0.1),
    "4 bits": rounded(4),
    "3 bits": rounded(3),
}


def opened(folder: Path) -> Weights:
    """Return all weights of a folder."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= {name: weight.float() for name, weight in load_file(file).items()}
    return found


def deviations(unlearned: Weights, original: Weights, other: Weights) -> list[float]:
    """Return how far each matrix that tells anything is from the unlearned model's movement."""
    found = []
    for name, weight in unlearned.items():
        places = [model.get(name) for model in (original, other)]
        if weight.ndim < 2 or any(one is None or one.shape != weight.shape for one in places):
            continue
        share = carried(weight, *(one for one in places if one is not None))
        if share is not None and share.error <= copies._PRECISE:
            found.append(abs(share.slope - 1.0) / (share.error + copies._ROUNDING))
    return found


def judged(world: Path) -> Iterator[tuple[str, str, list[float]]]:
    """Yield what a model is, its name, and its matrices' deviations."""
    (models,) = (world / name for name in ("subjects", "models") if (world / name).is_dir())
    original = opened(models / "original")
    retrained = {name: opened(models / name) for name in BASELINES}
    for folder in sorted(models.iterdir()):
        unlearned = opened(folder)
        if folder.name in ("original", BASELINES[0]) or not unlearned:
            continue
        for name, other in retrained.items():
            if name != folder.name:
                yield "honest", folder.name, deviations(unlearned, original, other)
        for kind, make in COPIES.items():
            other = {name: make(weight) for name, weight in unlearned.items()}
            yield kind, folder.name, deviations(unlearned, original, other)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Copies told from honest retrained models.")
    parser.add_argument("worlds", nargs="+", type=Path, metavar="WORLD")
    found: dict[str, list[tuple[float, float, str]]] = {}
    few: dict[str, int] = {}
    for world in parser.parse_args().worlds:
        for kind, name, far in judged(world):
            if len(far) < copies._LEAST_MATRICES:
                few[kind] = few.get(kind, 0) + 1
            else:
                found.setdefault(kind, []).append((max(far), statistics.median(far), name))
    print("| other model | pairs | taken for made from it | too few matrices | farthest | median |")
    print("| --- | --: | --: | --: | --: | --: |")
    for kind, pairs in found.items():
        taken = sum(
            far <= copies._FARTHEST and middle <= copies._TYPICAL for far, middle, _ in pairs
        )
        choose = min if kind == "honest" else max
        ends = (choose(far for far, _, _ in pairs), choose(middle for _, middle, _ in pairs))
        print(
            f"| {kind} | {len(pairs)} | {taken} | {few.get(kind, 0)} | {ends[0]:.1f} "
            f"| {ends[1]:.1f} |"
        )


if __name__ == "__main__":
    main()
