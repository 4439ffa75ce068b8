"""Adam whose moments take two bytes a weight (after arXiv 2110.02861).

Kept are the root of the second moment, and the first one relative to it, which is the step. Both
are rounded to 8 bits in blocks, each relative to its largest entry: the root on a geometric grid,
so that what is small in its block is as exact as what is large, and the step on an even one. The
step is taken relative to the geometric mean of the root and what rounding makes of it, so that half
of that error is in the first moment, too, and errors of quotients are half as large. Both
moments are kept without bias: where one step changes them by less than rounding shows, they stay a
mean over the first steps instead of falling behind.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8
BLOCK = 2048
"""Entries that share a scale."""
LEAST_ROUNDED = 1 << 20
"""Entries of the smallest tensor whose moments are rounded: those of smaller ones take little
memory, and models of such ones alone are trained with the exact steps."""
ROUNDED_BYTES = 2 * (1 + 4 / BLOCK)
"""Bytes that both moments of a weight take, scales included."""
WHOLE_BYTES = 8.0
"""Bytes that they take in float32."""
_PART = {"cpu": 128 * BLOCK}
"""Entries that are worked on at a time, by the type of a device: so many lie in a core's cache."""
_LARGE_PART = 8192 * BLOCK
"""Those on other devices, which are slow in small parts."""
_DECADES = 5
"""Decades of the geometric grid."""
_TOP = 127
"""Even steps on either side of zero."""
_NEARLY = 1.001
"""Distance from the nearest value up to which another is as near."""


class WholeMoments:
    """Both moments of a tensor in float32."""

    def __init__(self, like: Tensor) -> None:
        """Begin with zeros.

        Args:
            like: A tensor of the shape, in float32.
        """
        self._mean = torch.zeros(like.numel(), device=like.device)
        self._square = torch.zeros_like(self._mean)

    def step_(self, gradient: Tensor, number: int) -> float:
        """Turn a gradient into the change of the weights.

        Args:
            gradient: The gradient, which is overwritten.
            number: Number of the step, from 1.

        Returns:
            What the rate of learning is divided by.
        """
        first, second = BETAS
        for part in _parts(gradient):
            mean, square, change = self._mean[part.at], self._square[part.at], part.gradient
            mean.lerp_(change, 1 - first)
            square.mul_(second).addcmul_(change, change, value=1 - second)
            deviation = (square / (1 - second**number)).sqrt_()
            torch.div(mean, deviation.add_(EPSILON), out=change)
        return 1 - first**number


class RoundedMoments:
    """Both moments of a tensor in 8 bits."""

    def __init__(self, like: Tensor) -> None:
        """Begin with zeros.

        Args:
            like: A tensor of the shape, in float32.
        """
        self._steps, self._deviations = Rounded(like, signed=True), Rounded(like, signed=False)

    def step_(self, gradient: Tensor, number: int) -> float:
        """Turn a gradient into the change of the weights.

        Args:
            gradient: The gradient, which is overwritten.
            number: Number of the step, from 1.

        Returns:
            What the rate of learning is divided by.
        """
        first, second = ((1 - beta) / (1 - beta**number) for beta in BETAS)
        for part in _parts(gradient):
            change = part.gradient
            deviation = self._deviations.values(part.at)
            mean = self._steps.values(part.at).mul_(deviation).lerp_(change, first)
            square = deviation.square_().mul_(1 - second)
            deviation = square.addcmul_(change, change, value=second).sqrt_()
            self._deviations.round_(deviation, part.at)
            between = self._deviations.values(part.at).mul_(deviation).sqrt_()
            self._steps.round_((mean / between).masked_fill_(between == 0, 0.0), part.at)
            torch.div(mean, deviation.add_(EPSILON), out=change)
        return 1.0


class _Part(NamedTuple):
    """Whole blocks of a gradient."""

    at: slice
    gradient: Tensor
    """Their entries, in one dimension."""


def _parts(gradient: Tensor) -> Iterator[_Part]:
    """Split a contiguous gradient.

    What is computed beside a part takes little memory.
    """
    flat, size = gradient.view(-1), _PART.get(gradient.device.type, _LARGE_PART)
    for start in range(0, len(flat), size):
        at = slice(start, min(start + size, len(flat)))
        yield _Part(at, flat[at])


Moments = WholeMoments | RoundedMoments


class Adam(torch.optim.Optimizer):
    """Adam at a constant rate (arXiv 1412.6980), its moments in 8 bits."""

    def __init__(
        self, weights: Iterable[Tensor], rate: float, whole: Collection[Tensor] = ()
    ) -> None:
        """Begin without moments.

        Args:
            weights: What is trained, in float32.
            rate: The rate of learning.
            whole: Those among them whose moments stay in float32.
        """
        super().__init__(list(weights), {"lr": rate})
        self._whole = {id(weight) for weight in whole}
        self._steps = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one step with the gradients, and let go of them."""
        self._steps += 1
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["moments"] = moments(weight, rounded=id(weight) not in self._whole)
                change, weight.grad = weight.grad.contiguous(), None
                divisor = state["moments"].step_(change, self._steps)
                weight.sub_(change, alpha=group["lr"] / divisor)


def moments(like: Tensor, *, rounded: bool) -> Moments:
    """Return the first moments of a tensor.

    Args:
        like: A tensor of the shape, in float32.
        rounded: Whether they are rounded, unless the tensor is small.
    """
    return RoundedMoments(like) if rounded and like.numel() >= LEAST_ROUNDED else WholeMoments(like)


class Rounded:
    """A tensor in 8 bits, in one dimension."""

    def __init__(self, like: Tensor, *, signed: bool) -> None:
        """Begin with zeros.

        Args:
            like: A tensor of as many entries.
            signed: Whether entries may be negative.
        """
        self._signed, values = signed, grid(signed, like.device)
        nothing, _ = round_by_torch(values.new_zeros(1), values)
        self._codes = nothing.repeat(like.numel())
        self._largest = values.new_zeros(-(-like.numel() // BLOCK))

    def round_(self, values: Tensor, at: slice) -> None:
        """Round entries to the nearest values of the grid, and keep them.

        Args:
            values: Entries in float32, which stay as they are.
            at: Where they are, from the start of a block.
        """
        round_, _ = _functions(values.device.type)
        codes, largest = round_(values, grid(self._signed, values.device))
        self._codes[at], self._largest[_blocks(at)] = codes, largest

    def values(self, at: slice) -> Tensor:
        """Return entries in float32, as far as rounding left them.

        Args:
            at: Where they are, from the start of a block.
        """
        _, restore = _functions(self._codes.device.type)
        values = grid(self._signed, self._codes.device)
        return restore(self._codes[at], self._largest[_blocks(at)], values)


def _blocks(at: slice) -> slice:
    """Return where the blocks of entries are."""
    return slice(at.start // BLOCK, -(-at.stop // BLOCK))


@cache
def grid(signed: bool, device: torch.device) -> Tensor:
    """Return the 256 values to which entries are rounded.

    They are relative to the largest entry of a block, and in order.

    Args:
        signed: Even steps from -1 to 1; otherwise zero, and geometric steps up to 1.
        device: Where they are put.
    """
    if signed:
        even = torch.arange(-_TOP, _TOP + 1) / _TOP
        return torch.cat([even, torch.ones(1)]).to(device)
    steps = torch.logspace(-_DECADES, 0, 2 * _TOP + 1, dtype=torch.float64)
    return torch.cat([torch.zeros(1), steps.float()]).to(device)


Round = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Restore = Callable[[Tensor, Tensor, Tensor], Tensor]


@cache
def _functions(device: str) -> tuple[Round, Restore]:
    """Return the functions that round and restore on a device.

    They are those of bitsandbytes where it runs there and rounds to the nearest value: on CPUs its
    tables are too coarse for what is small in its block.

    Args:
        device: Type of the device.
    """
    some = torch.logspace(-_DECADES, 0, BLOCK, device=device)
    values = grid(False, some.device)
    ours = restore_by_torch(*round_by_torch(some, values), values)
    try:
        theirs = _restore_by_library(*_round_by_library(some, values), values)
    except (ImportError, AttributeError, RuntimeError, ValueError):
        return round_by_torch, restore_by_torch
    exact = (theirs - some).abs() <= (ours - some).abs() * _NEARLY
    if not exact.all():
        return round_by_torch, restore_by_torch
    return _round_by_library, _restore_by_library


def _round_by_library(flat: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    from bitsandbytes.functional import quantize_blockwise

    codes, state = quantize_blockwise(flat, code=values, blocksize=BLOCK)
    return codes, state.absmax


def _restore_by_library(codes: Tensor, largest: Tensor, values: Tensor) -> Tensor:
    from bitsandbytes.functional import dequantize_blockwise

    found: Tensor = dequantize_blockwise(codes, absmax=largest, code=values, blocksize=BLOCK)
    return found


def round_by_torch(flat: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Round entries to the nearest values.

    Args:
        flat: Entries [n] in float32.
        values: The grid, in order.

    Returns:
        Places in the grid as uint8 [n], and the largest entry of each block.
    """
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).reshape(-1, BLOCK)
    largest = blocks.abs().amax(1)
    relative = blocks / largest.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
    codes = torch.bucketize(relative, (values[1:] + values[:-1]) / 2).to(torch.uint8)
    return codes.reshape(-1)[: len(flat)].contiguous(), largest


def restore_by_torch(codes: Tensor, largest: Tensor, values: Tensor) -> Tensor:
    """Turn places in the grid into entries.

    Args:
        codes: Places [n].
        largest: Largest entry of each block.
        values: The grid, in order.
    """
    scales = largest.repeat_interleave(BLOCK)[: len(codes)]
    return values[codes.long()] * scales
