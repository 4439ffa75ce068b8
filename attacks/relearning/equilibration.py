"""Equilibrated frames, which scale training steps to the weights.

A model's function does not change where a row of one matrix is multiplied and the column of the
next is divided, and gradients by its weights then change by the reverse factors. Optimisers whose
step has one size for all weights train such a model less. Here every matrix is written as
``W = diag(rows) V diag(columns)``, where all rows and columns of V have one root mean square
(Sinkhorn and Knopp 1967, on the squares), and steps are made in V. Rows and columns follow every
rescaling of W, V does not change, and so the trained function is that of the model before it.
What is mixed in the heads of attention has matrices instead of scales (`head_frames.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.relearning.head_frames import Blocks, Heads, mixed_rows
from auditor.core.faults import is_out_of_memory
from auditor.models.language.layers import is_transposed

Factor = Tensor | Blocks
"""What a tensor is multiplied by, entry by entry or block by block of one dimension."""

USUAL_RMS = 0.02
"""Root mean square of rows and columns in the frame: that of the weights of GPT-2 and Llama when
their training begins, so that rates which are usual for such models mean what they mean there."""

_ROUNDS = 64
"""Normalisations of rows and columns at most; a dense matrix takes about five."""
_TOLERANCE = 1e-5
"""Relative change in a round at which the rows have settled."""
_BLOCK = 1 << 24
"""Weights that are turned to float32 at a time."""
_PROBED = 256
"""Unit vectors at a time that are put through a layer whose weight cannot be read."""


class Frame(NamedTuple):
    """Scales of a matrix's rows and columns.

    They are float32, on the matrix's device.
    """

    rows: Tensor
    """Scale of each row, [rows]; of heads, matrices [heads, width, width]."""
    columns: Tensor
    """Scale of each column, [columns]; of heads, matrices [heads, width, width]."""


@torch.no_grad()
def equilibrated(weight: Tensor) -> Frame:
    """Find the frame of a matrix.

    A row or column of zeros among others gets the geometric mean of theirs. The frame of a matrix
    of zeros is zero, and so is a step in it.

    Args:
        weight: [rows, columns], of any float type.
    """
    size = max(1, _BLOCK // weight.shape[1])
    rows = torch.cat([part.abs().amax(1).float() for part in torch.split(weight, size)])
    columns = torch.zeros(weight.shape[1], device=weight.device)
    held = rows > 0
    if not held.any():
        return Frame(rows, columns)
    # by the largest entries first, so that no square leaves the range of float32
    rows = torch.where(held, rows, 1.0)
    for block in _blocks(weight, rows, size):
        columns = torch.maximum(columns, block.abs().amax(0))
    kept = columns > 0
    columns = torch.where(kept, columns, 1.0)
    across, down = torch.ones_like(rows), torch.ones_like(columns)
    for _ in range(_ROUNDS):
        last, parts, sums = across, [], torch.zeros_like(down)
        for block in _blocks(weight, rows, size):
            squares = (block / columns).square()
            part = squares @ (1.0 / down) / kept.sum()
            parts.append(torch.where(part > 0, part, 1.0))
            sums += (1.0 / parts[-1]) @ squares
        across, down = torch.cat(parts), torch.where(kept, sums / held.sum(), 1.0)
        if (across / last).log().abs().amax() < _TOLERANCE:
            break
    rows, columns = rows * across.sqrt() / USUAL_RMS, columns * down.sqrt()
    return Frame(_filled(rows, held), _filled(columns, kept))


def _blocks(weight: Tensor, rows: Tensor, size: int) -> Iterator[Tensor]:
    """Yield rows of a matrix, each divided by its scale.

    They are float32, ``size`` at a time.
    """
    for part, scale in zip(torch.split(weight, size), torch.split(rows, size), strict=True):
        yield part.float() / scale.unsqueeze(1)


def _filled(scale: Tensor, given: Tensor) -> Tensor:
    """The scales, with their geometric mean where none is given."""
    return torch.where(given, scale, scale[given].log().mean().exp())


def multiplied(tensor: Tensor, factors: Iterable[Factor]) -> Tensor:
    """Multiply a tensor in place by each factor."""
    for factor in factors:
        if isinstance(factor, Blocks):
            factor.apply_(tensor)
        else:
            tensor.mul_(factor)
    return tensor


def pulled_back(gradient: Tensor, factors: Iterable[Factor]) -> Tensor:
    """Turn a gradient into that by the value in the frame."""
    for factor in factors:
        if isinstance(factor, Blocks):
            factor.apply_transposed_(gradient)
        else:
            gradient.mul_(factor)
    return gradient


def along(scale: Tensor, dim: int, ndim: int) -> Factor:
    """Return one side of a frame as a factor.

    Args:
        scale: a vector, or matrices of heads.
        dim: dimension of the tensor, not counted from its end.
        ndim: number of the tensor's dimensions.
    """
    if scale.ndim == 3:
        return Blocks(scale, dim)
    return scale.view(*(-1 if place == dim else 1 for place in range(ndim)))


def headed(weight: Tensor, heads: Heads | None) -> Frame:
    """Find the frame of a matrix, with heads or without.

    Args:
        weight: [rows, columns], of any float type.
        heads: where its heads are.
    """
    if heads is None:
        return equilibrated(weight)
    by_rows = heads.side == "rows"
    found = mixed_rows(weight if by_rows else weight.T, heads.width)
    if found is None:
        return equilibrated(weight)
    blocks, other = found
    return Frame(blocks / USUAL_RMS, other) if by_rows else Frame(other / USUAL_RMS, blocks)


def layer_frame(layer: nn.Module, heads: Heads | None = None) -> Frame | None:
    """Return the frame of a layer's map, outputs by inputs.

    That of an embedding is tokens by width.

    Args:
        layer: linear, a convolution or an embedding, rounded or not.
        heads: where the heads are in a layer of attention.

    Returns:
        None where the layer's weight can neither be read nor worked out.
    """
    weight = getattr(layer, "weight", None)
    if type(weight) is not nn.Parameter or not weight.is_floating_point():
        weight = _worked_out(layer)
        return None if weight is None else headed(weight, heads)
    return headed(_matrix(weight.T if is_transposed(layer) else weight), heads)


def _matrix(weight: Tensor) -> Tensor:
    """Return a weight as a matrix.

    A convolution has a scale for each channel, whatever the place.
    """
    if weight.ndim == 2:
        return weight.detach()
    return weight.detach().float().flatten(2).square().mean(2).sqrt()


@torch.no_grad()
def _worked_out(layer: nn.Module) -> Tensor | None:
    """Return the weight [out, in] of a rounded layer.

    It follows from what the layer makes of unit vectors.
    """
    width = getattr(layer, "in_features", None)
    held = [*layer.parameters(), *layer.buffers()]
    if width is None or not held:
        return None
    dtype = next((t.dtype for t in held if t.dtype == torch.float16), torch.float32)
    parts = []
    try:
        for units in torch.split(torch.eye(width, dtype=dtype, device=held[0].device), _PROBED):
            parts.append(layer(units).float() - layer(torch.zeros_like(units[:1])).float())
    except (RuntimeError, NotImplementedError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return None
    weight = torch.cat(parts).T
    return weight if torch.isfinite(weight).all() else None


def parameter_factors(
    network: nn.Module, heads: Mapping[str, Heads] = MappingProxyType({})
) -> dict[str, tuple[Factor, ...]]:
    """Return factors of a step on each parameter, by name.

    The factors of a parameter are multiplied.

    Matrices have their frame, and stacked ones a frame each. A gain has its own size, entry by
    entry. A bias has the scale of the outputs that it is added to, times its root mean square in
    that scale. All are multiplied by what rescales their parameter.

    Args:
        network: whose parameters.
        heads: where the heads are in layers of attention, by name.
    """
    factors: dict[str, tuple[Factor, ...]] = {}
    for path, module in network.named_modules():
        outputs: Tensor | None = None
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            if parameter.ndim >= 2:
                factors[full], outputs = _factors(module, parameter, heads.get(path))
            else:
                size = parameter.detach().float()
                factors[full] = _vector_factors(size, outputs)
                outputs = outputs if outputs is not None else size.abs()
    return factors


def _vector_factors(vector: Tensor, outputs: Tensor | None) -> tuple[Factor, ...]:
    """Factors of a step on a gain or a bias.

    Args:
        vector: its values.
        outputs: scale of the outputs that it is added to, or the gain beside it.
    """
    if outputs is not None and outputs.ndim == 3 and outputs[..., 0].numel() == len(vector):
        blocks = Blocks(outputs, 0)
        return blocks, blocks.of(vector).square().mean().sqrt() / USUAL_RMS
    size = vector.abs()
    if outputs is not None and outputs.shape == size.shape and outputs.all():
        size = outputs * (size / outputs).square().mean().sqrt()
    return (size / USUAL_RMS,)


def _factors(
    module: nn.Module, weight: Tensor, heads: Heads | None
) -> tuple[tuple[Factor, ...], Tensor]:
    """Return factors of a step, and the scale of outputs.

    The weight has two dimensions or more.
    """
    if weight.ndim == 3 and not hasattr(module, "kernel_size"):  # the matrices of experts
        frames = [equilibrated(one) for one in weight.detach()]
        rows = torch.stack([frame.rows for frame in frames])
        columns = torch.stack([frame.columns for frame in frames])
        return (rows.unsqueeze(2), columns.unsqueeze(1)), rows.flatten()
    if is_transposed(module):
        frame = headed(_matrix(weight.T), heads)
        return (along(frame.columns, 0, 2), along(frame.rows, 1, 2)), frame.rows
    frame = headed(_matrix(weight), heads)
    factors = (along(frame.rows, 0, weight.ndim), along(frame.columns, 1, weight.ndim))
    return factors, frame.rows
