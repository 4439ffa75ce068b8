"""Knowledge that shows after rounding only.

Each weight may move within its cell of NF4 and no further, so a model rounded to 4 bits is the
original rounded to 4 bits, whatever the model says in full precision. After arXiv 2410.16454.
"""

import torch
from bitsandbytes.functional import get_4bit_type
from torch import Tensor
from transformers import PreTrainedModel

from auditor.models.language.layers import is_transposed, linear_layers
from auditor.testbeds.lineage import BLOCK_SIZE

MARGIN = 0.04
"""Share of a cell at each end that stays free, against errors of rounding."""


class Cells:
    """The cells of NF4 that the weights of linear layers lie in."""

    def __init__(self, model: PreTrainedModel):
        self._bounds = [
            (layer.weight, *_bounds(layer.weight.detach(), is_transposed(layer)))
            for layer in linear_layers(model).values()
        ]

    @torch.no_grad()
    def put_back(self) -> None:
        """Put weights that left their cell back to its border."""
        for weight, lower, upper in self._bounds:
            weight.copy_(weight.clamp(lower, upper))


def linear_names(model: PreTrainedModel) -> frozenset[str]:
    """Names of the weights that are rounded."""
    return frozenset(f"{name}.weight" for name in linear_layers(model))


def _bounds(weight: Tensor, transposed: bool) -> tuple[Tensor, Tensor]:
    """Borders of each weight's cell; a block's largest does not move."""
    stored = weight.T if transposed else weight
    blocks = stored.reshape(-1, BLOCK_SIZE)
    scale = blocks.abs().amax(1, keepdim=True)
    levels = get_4bit_type("nf4", device="cpu").sort().values
    middles = (levels[1:] + levels[:-1]) / 2
    borders = torch.cat([levels[:1], middles, levels[-1:]])
    cell = torch.bucketize(blocks / scale, middles)
    lower, upper = borders[cell], borders[cell + 1]
    free = MARGIN * (upper - lower)
    lower, upper = (lower + free) * scale, (upper - free) * scale
    largest = blocks.abs() == scale
    lower, upper = torch.minimum(lower, blocks), torch.maximum(upper, blocks)
    lower, upper = torch.where(largest, blocks, lower), torch.where(largest, blocks, upper)
    if transposed:
        return lower.reshape(stored.shape).T, upper.reshape(stored.shape).T
    return lower.reshape(stored.shape), upper.reshape(stored.shape)
