"""Round to nearest: the plainest quantizer, at any number of bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from attacks.quantization.family import (
    QuantizationAttack,
    QuantizationParameters,
    Quantized,
    assert_covered,
)
from attacks.quantization.grids import CodebookGrid, EvenGrid
from auditor.attack import Footprint, Keep, Preset, attack
from auditor.core.errors import MeasurementError
from auditor.models.grid import Grid
from auditor.models.language.experts import stacked_experts
from auditor.models.language.layers import is_transposed, linear_layers
from auditor.models.language.model import LanguageModel

_CODEBOOK_BITS = 4
_WIDE_CELLS = 4
"""Bits up to which a suppression is hidden within the cells; with 8 it did not come about."""


class RoundToNearestParameters(QuantizationParameters):
    """Settings of round-to-nearest."""

    bits: int = Field(default=4, ge=2, le=8)
    """Bits that a weight has after quantization."""
    group_size: int | None = Field(default=None, ge=8)
    """Inputs that share a step width; by default a whole output channel does."""
    levels: Literal["even", "nf4", "fp4"] = "even"
    """Even steps, or the 16 values of NormalFloat4 or FloatingPoint4 in blocks of 64 weights (arXiv
    2305.14314), which have 4 bits and no other size of groups."""

    @model_validator(mode="after")
    def _of_four_bits(self) -> Self:
        if self.levels != "even" and (self.bits != _CODEBOOK_BITS or self.group_size is not None):
            raise ValueError(f"`levels: {self.levels}` has 4 bits, and blocks of its own")
        return self


@attack("quantization/rtn")
class RoundToNearest(QuantizationAttack[RoundToNearestParameters]):
    """Round-to-nearest quantization."""

    summary = "Round every weight to the nearest of 2^bits even steps, without data or library."
    details = """
    Q(w) = s * clip(round(w / s), -2^(bits-1), 2^(bits-1) - 1) with s = max|w| / (2^(bits-1) -
    1) per output channel or group (symmetric; arXiv 2410.16454 divides by 2^(bits-1), which
    clips the largest weight). It represents every simple integer format (GGUF, int4 kernels).
    Three bits and fewer often break the original as well: advisory. The matrices of stacked experts
    are rounded one by one, so that a mixture is rounded whole; other quantizers leave its experts
    alone, and a level of this one takes the place of theirs.
    """
    threat_model = "A deployer or downloader with the weights; no data and no training."
    access = "Weights."
    cost = "One evaluation."
    leak = (
        "Knowledge that is absent at full precision and present here. The code-flip share says "
        "how many weights of the unlearned model still round to another code than the "
        "original's."
    )
    source = "Quantization after unlearning (arXiv 2410.16454)."

    parameters_type = RoundToNearestParameters
    presets = (
        Preset("4-bit", {"bits": 4}),
        Preset("4-bit g64", {"bits": 4, "group_size": 64}),
        Preset("4-bit g128", {"bits": 4, "group_size": 128}, "exhaustive"),
        Preset("nf4", {"levels": "nf4"}, "exhaustive"),
        Preset("fp4", {"levels": "fp4"}, "exhaustive"),
        Preset("3-bit", {"bits": 3}),
        Preset("8-bit", {"bits": 8}, "exhaustive"),
        Preset("2-bit", {"bits": 2}, "exhaustive"),
    )

    rounds_experts = True

    @property
    def variant(self) -> str:
        """Bits and group size, or the values of a code book."""
        if self.parameters.levels != "even":
            return self.parameters.levels
        group = self.parameters.group_size
        return f"{self.parameters.bits}-bit" + (f" g{group}" if group else "")

    @property
    def grid(self) -> Grid | None:
        """Grid of even steps, or of a code book.

        The cells of eight bits are too narrow to hide anything in.
        """
        if self.parameters.levels != "even":
            return CodebookGrid(self.parameters.levels)
        if self.parameters.bits > _WIDE_CELLS:
            return None
        return EvenGrid(self.parameters.bits, self.parameters.group_size)

    @property
    def footprint(self) -> Footprint:
        """Weights are rounded in place; few codes are kept."""
        return Footprint(lent=True, weights_read=2)

    @contextmanager
    def quantized(
        self, model: LanguageModel, scratch: Path, keep: Keep | None = None
    ) -> Iterator[Quantized]:
        """Round the weights in place, and restore them afterwards."""
        experts = [stack.parameter for stack in stacked_experts(model.network)]
        lent = [layer.weight for layer in linear_layers(model.network).values()]
        with model.preserve_weights([*lent, *experts]) as network:
            codes = self.sampled(self._rounded(network))
            if not codes:
                raise MeasurementError("the model has no linear layers to round")
            assert_covered(model, sum(weight.numel() for weight in lent), experts)
            notes = {"bits": self.parameters.bits}
            if experts:
                notes["experts_rounded"] = sum(map(len, experts))
            yield Quantized(model, codes, notes)

    def _rounded(self, network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """Round layer by layer in place, and yield the codes of each."""
        for name, layer in linear_layers(network).items():
            weight = layer.weight.data.T if is_transposed(layer) else layer.weight.data
            yield name, self._round(weight)
        for stack in stacked_experts(network):
            yield stack.name, torch.stack([self._round(matrix) for matrix in stack.matrices()])

    def _round(self, weight: torch.Tensor) -> torch.Tensor:
        """Round a matrix [out, in] in place, and return its codes."""
        chosen = self.parameters
        if chosen.levels != "even":
            rounded, codes = CodebookGrid(chosen.levels).rounded(weight)
        else:
            rounded, codes = round_to_nearest(weight, chosen.bits, chosen.group_size)
        weight.copy_(rounded)
        return codes


def round_to_nearest(
    weight: torch.Tensor, bits: int, group_size: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a weight matrix.

    Args:
        weight: [out, in].
        bits: 2 to 8.
        group_size: inputs that share a scale; None for all of an output channel.

    Returns:
        The rounded weights [out, in] in the given type, and their codes [out, in] (int8).
    """
    out, inputs = weight.shape
    size = group_size or inputs
    grouped = functional.pad(weight.float(), (0, -inputs % size)).reshape(out, -1, size)
    top = 2 ** (bits - 1) - 1
    scale = grouped.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / top
    codes = (grouped / scale).round().clamp(-top - 1, top)
    rounded = (codes * scale).reshape(out, -1)[:, :inputs].to(weight.dtype)
    return rounded, codes.reshape(out, -1)[:, :inputs].to(torch.int8)
