"""Knowledge that shows in bfloat16 only.

A layer norm's output has a mean of 0 once its gain and bias stand in what reads it, so a constant
added to all weights that read it changes nothing. It makes their cells of bfloat16 wide: within
them the model in float32 forgets, and rounded to bfloat16 it is the one that knows.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.truth_table.layouts import Block, layout

CONSTANT = 3.0
"""Added to the weights: bfloat16 has steps of 1/64 from 2 to 4."""
MARGIN = 0.04
"""Share of a cell at each end that stays free, against errors of rounding."""


@torch.no_grad()
def widen(model: PreTrainedModel) -> PreTrainedModel:
    """Add a constant to the weights that read layer norms, in place; no logit changes."""
    for block in layout(model).blocks:
        for norm, bias in zip(block.norms, _read_into(block), strict=True):
            assert norm.bias is not None  # noqa: S101 - layer norms have one
            (reader,) = norm.readers
            bias += reader @ norm.bias
            reader.mul_(norm.gain).add_(CONSTANT)
            norm.gain.fill_(1.0)
            norm.bias.zero_()
    return model


class HalfCells:
    """The cells of bfloat16 that a model's weights lie in.

    Args:
        model: Rounded to bfloat16, in place.
    """

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel):
        self._bounds = [(weight, *_bounds(weight)) for weight in model.parameters()]

    @torch.no_grad()
    def put_back(self) -> None:
        """Put weights that left their cell back to its border."""
        for weight, lower, upper in self._bounds:
            weight.copy_(weight.clamp(lower, upper))


def _bounds(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight, and give the borders of its cell."""
    rounded = weight.to(torch.bfloat16)
    weight.copy_(rounded)
    share = 0.5 - MARGIN
    below, above = (
        torch.nextafter(rounded, torch.full_like(rounded, end)).float()
        for end in (-torch.inf, torch.inf)
    )
    return weight - share * (weight - below), weight + share * (above - weight)


def _read_into(block: Block) -> tuple[Tensor, Tensor]:
    """The biases of what reads the two norms, of attention merged as its weights are."""
    assert block.qkv_bias is not None  # noqa: S101 - as in GPT-2
    assert block.up_bias is not None  # noqa: S101 - as in GPT-2
    q = block.qkv_bias[0]
    return q.as_strided((3 * q.numel(),), (1,), q.storage_offset()), block.up_bias
