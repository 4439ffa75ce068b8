"""Gaussian noise on the weights."""

import hashlib
from typing import Any

import torch
from pydantic import Field
from torch import nn

from attacks.tampering.family import WeightAttack, WeightChange, changed_matrices
from auditor.attack import Parameters, Preset, Requirements, attack
from auditor.models.language.model import LanguageModel


class NoiseParameters(Parameters):
    """Settings of the noise."""

    relative_std: float = Field(default=0.1, gt=0, le=2)
    """Standard deviation of the noise on a weight matrix, as a share of the matrix's own."""


@attack("tampering/noise")
class Noise(WeightAttack[NoiseParameters]):
    """Gaussian noise on the weight matrices."""

    summary = "Add Gaussian noise to every weight matrix."
    details = """
    W' = W + relative_std * std(W) * Z, with Z standard normal and std(W) over all entries of the
    matrix. Z depends on the seed and on the matrix's name and shape alone, so every arm gets
    the same draw, scaled to its own weights; it is drawn where the matrix lies, and devices of one
    kind draw alike. All weight matrices of the layers get it (linear layers, GPT-2's Conv1D,
    stacked experts); embeddings, the output head, norms and biases do not.

    A model that only acts as if it did not know can get better under noise, which one that does
    not know cannot. Where the noise is heavy enough to break the original as well, the attack
    says nothing, and its gate on the original's knowledge shows that.
    """
    threat_model = "Anyone with the weights, without data and without training."
    access = "Weights."
    cost = "One evaluation for each standard deviation and seed."
    leak = (
        "Knowledge that is absent without noise and rises with a little of it on the unlearned "
        "model, while the original's only falls."
    )
    source = (
        "Noise injection against sandbagging (arXiv 2412.01784), which adds noise of an absolute "
        "size and scans it; a share of each matrix's spread means the same on every "
        "architecture. As a tampering attack: arXiv 2502.05209."
    )

    parameters_type = NoiseParameters
    presets = (
        Preset("0.1 std", {"relative_std": 0.1}),
        Preset("0.05 std", {"relative_std": 0.05}, "exhaustive"),
        Preset("0.2 std", {"relative_std": 0.2}),
        Preset("0.02 std", {"relative_std": 0.02}, "exhaustive"),
        Preset("0.4 std", {"relative_std": 0.4}, "exhaustive"),
    )
    requires = Requirements(full_precision=True)
    seeded = True

    @property
    def variant(self) -> str:
        """The standard deviation."""
        return f"{self.parameters.relative_std:g} std"

    def tamper(self, model: LanguageModel, network: nn.Module, seed: int) -> dict[str, Any]:
        """Add the noise, and note its size after rounding."""
        noise_power, weight_power, matrices = 0.0, 0.0, 0
        change = WeightChange()
        for name, _, _, parameter in changed_matrices(network):
            before = parameter.data.to(torch.float32, copy=True)
            drawn = standard_normal(name, before.shape, seed, before.device)
            parameter.data.copy_(before + self.parameters.relative_std * before.std() * drawn)
            noise_power += float((parameter.data.float() - before).square().sum())
            weight_power += float((before - before.mean()).square().sum())
            change.add(before, parameter.data)
            matrices += 1
        return {
            "matrices": matrices,
            "realised_level": (noise_power / weight_power) ** 0.5,
            "effect": change.effect,
        }


def standard_normal(name: str, shape: torch.Size, seed: int, device: torch.device) -> torch.Tensor:
    """Standard normal numbers that depend on the arguments alone.

    They are drawn on the device itself, in float32: devices of one kind draw the same.
    """
    text = f"{seed}:{name}:{tuple(shape)}"
    mixed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    generator = torch.Generator(device).manual_seed(mixed)
    return torch.randn(shape, generator=generator, device=device)
