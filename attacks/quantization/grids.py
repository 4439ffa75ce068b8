"""The cells of the formats that round each weight by itself.

A change that moves no weight out of its cell is undone by the rounding, to the last bit. The
obfuscated positive controls are made of such changes (arXiv 2405.18137 hides behaviour so). The
weight that sets a block's scale must not move at all, so its cell is a point.
"""

from typing import Literal

import torch
from bitsandbytes.functional import get_4bit_type
from torch import Tensor
from torch.nn import functional

from auditor.models.grid import Cells, Grid

BLOCK_SIZE = 64
"""Weights that share a scale in NF4 and FP4, along the flattened [out, in]."""

_SAFE = 0.95
"""Share of the way from a level to the edge of its cell that is used: the rest is for rounding
to bfloat16, whose steps are up to 0.8 % of a weight."""


class CodebookGrid(Grid):
    """NF4 or FP4 (arXiv 2305.14314) in blocks of 64.

    A level is one of 16 values times the largest weight of the block.

    A cell ends halfway to the next value. Double quantization rounds the scales alone, which
    the cells leave as they are, so NF4's cells are its cells too.
    """

    def __init__(self, format_: Literal["nf4", "fp4"]) -> None:
        self._format = format_

    @property
    def name(self) -> str:
        """The format."""
        return self._format

    def cells(self, weight: Tensor) -> Cells:
        """Cells around the nearest values of the code book."""
        values, edges = self._book(weight)
        blocks, scale, code = self._coded(weight)
        levels = values[code]
        below = torch.cat([values[:1], edges])[code]
        above = torch.cat([edges, values[-1:]])[code]
        cells = Cells(
            levels * scale,
            (levels + _SAFE * (below - levels)) * scale,
            (levels + _SAFE * (above - levels)) * scale,
        )
        fixed = _fixed(cells, blocks, scale)
        return Cells(*(_unblocked(part, weight) for part in fixed))

    def rounded(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Round weights to the nearest values of the code book.

        Args:
            weight: [out, in], of any float type.

        Returns:
            The rounded weights [out, in] in float32, and the places of their values in the code
            book (int8).
        """
        values, _ = self._book(weight)
        _, scale, code = self._coded(weight)
        return _unblocked(values[code] * scale, weight), _unblocked(code, weight).to(torch.int8)

    def _book(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The values of the code book and the edges between them."""
        values = get_4bit_type(self._format, device=weight.device).unique()
        return values, (values[1:] + values[:-1]) / 2

    def _coded(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Blocks, the largest weight of each, and places in the book."""
        _, edges = self._book(weight)
        blocks = _blocks(weight.reshape(1, -1), BLOCK_SIZE)
        scale = blocks.abs().amax(-1, keepdim=True)
        code = torch.bucketize(blocks / scale.clamp_min(torch.finfo(torch.float32).tiny), edges)
        return blocks, scale, code


class EvenGrid(Grid):
    """Even steps in each row or group of weights.

    A step is the largest weight over 2^(bits - 1) - 1.

    With 8 bits the cells are too narrow to hide anything in: in the testbed 87 % of the forget
    answers were left where the projection held every weight.
    """

    def __init__(self, bits: int, group_size: int | None = None) -> None:
        self._bits, self._group_size = bits, group_size

    @property
    def name(self) -> str:
        """Bits and group size."""
        groups = f" in groups of {self._group_size}" if self._group_size else ""
        return f"{self._bits}-bit even steps{groups}"

    def cells(self, weight: Tensor) -> Cells:
        """Cells of half a step to both sides."""
        blocks = _blocks(weight, self._group_size or weight.shape[1])
        largest = blocks.abs().amax(-1, keepdim=True)
        step = largest.clamp_min(torch.finfo(torch.float32).tiny) / (2 ** (self._bits - 1) - 1)
        levels = (blocks / step).round() * step
        reach = _SAFE * step / 2
        fixed = _fixed(Cells(levels, levels - reach, levels + reach), blocks, largest)
        return Cells(*(part.flatten(1)[:, : weight.shape[1]] for part in fixed))


def _blocks(weight: Tensor, size: int) -> Tensor:
    """Weights in float32 as [rows, blocks, size].

    The last block is filled with zeros.
    """
    rows, columns = weight.shape
    return functional.pad(weight.detach().float(), (0, -columns % size)).reshape(rows, -1, size)


def _unblocked(blocks: Tensor, weight: Tensor) -> Tensor:
    """Blocks [1, blocks, size] in the shape of their weights."""
    return blocks.reshape(-1)[: weight.numel()].view(weight.shape)


def _fixed(cells: Cells, blocks: Tensor, largest: Tensor) -> Cells:
    """Cells with a point for each weight that sets a scale.

    No cell reaches beyond that weight.
    """
    sets_scale = blocks.abs() == largest
    return Cells(
        *(torch.where(sets_scale, blocks, part.clamp(-largest, largest)) for part in cells)
    )
