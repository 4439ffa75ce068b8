"""Distance of a model's weights from the original's.

It is given by group of tensors.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

_ROUNDS = 8
"""Alternations of rows and columns; those of a dense matrix settle within a few."""

_CONVOLUTION = 4
"""Dimensions of a convolution's weight."""


@torch.no_grad()
def weight_change(
    groups: Mapping[str, Mapping[str, Tensor]],
    original: Mapping[str, Tensor],
    body: Collection[str],
) -> dict[str, dict[str, Any]]:
    """Compare the tensors of a model with those of the original.

    Both are rounded to bfloat16 first, the coarsest type that models are stored in: what is stored
    in another type is no other model.

    Args:
        groups: Groups of the model: group to tensors by name.
        original: The original's tensors by name.
        body: The groups that hold what the model knows.

    Returns:
        Group to whether it is of the ``body``, the number of its ``tensors``, of those that are
        ``equal`` and of those that are ``incomparable`` (missing in the original, or of another
        shape), and their relative ``change`` (Frobenius norm); for matrices also ``scale_free``,
        the largest relative change of one of them after `balanced`.
    """
    return {
        name: {"body": name in body, **_compared(members, original)}
        for name, members in groups.items()
    }


def _compared(members: Mapping[str, Tensor], original: Mapping[str, Tensor]) -> dict[str, Any]:
    equal = incomparable = 0
    moved = size = 0.0
    largest: list[float] = []
    for name, tensor in members.items():
        theirs = original.get(name)
        if theirs is None or theirs.shape != tensor.shape:
            incomparable += 1
            continue
        ours, theirs = (_rounded(one) for one in (tensor, theirs))
        same = bool(torch.equal(ours, theirs))
        equal += same
        size += float(theirs.square().sum())
        moved += 0.0 if same else float((ours - theirs).square().sum())
        if ours.ndim > 1:
            largest.append(0.0 if same else _relative(balanced(ours), balanced(theirs)))
    found: dict[str, Any] = {
        "tensors": len(members),
        "equal": equal,
        "incomparable": incomparable,
        "change": _root(moved, size),
    }
    return {**found, "scale_free": max(largest)} if largest else found


class Carried(NamedTuple):
    """How much of one model's movement another one has made."""

    slope: float
    """1 where all of it is there, whatever else was added."""
    error: float
    """Standard error of the slope."""


@torch.no_grad()
def carried(unlearned: Tensor, original: Tensor, other: Tensor) -> Carried | None:
    """Return how much of a matrix's movement another matrix has made.

    Both move from the original: the slope of W - W_O on W_U - W_O, by least squares through the
    origin, over all entries.

    Args:
        unlearned: W_U.
        original: W_O, of the same shape.
        other: W, of the same shape.

    Returns:
        None where the unlearned matrix is the original's.
    """
    start = original.float()
    moved, others = (unlearned.float() - start).flatten(), (other.float() - start).flatten()
    size = float(moved.norm()) ** 2
    if not size > 0.0:
        return None
    slope = float(moved @ others) / size
    left = float((others - slope * moved).norm()) ** 2
    return Carried(slope, math.sqrt(left / max(1, len(moved) - 1) / size))


def balanced(matrix: Tensor) -> Tensor:
    """Return a matrix's absolute entries in balanced form.

    Its rows and columns are brought to one norm in turn.

    So that it is the same matrix after rows or columns were multiplied by any numbers, as
    rescalings do that change no logit (Sinkhorn and Knopp, Pacific J. Math. 21, 1967).

    Args:
        matrix: [..., rows, columns], float32; of a convolution [out, in, height, width].
    """
    found = (matrix.flatten(1) if matrix.ndim == _CONVOLUTION else matrix).abs()
    for _ in range(_ROUNDS):
        for dimension in (-1, -2):
            norm = torch.linalg.vector_norm(found, dim=dimension, keepdim=True)
            found = found / norm.clamp_min(torch.finfo(found.dtype).tiny)
    return found


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().to(torch.bfloat16).float()


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return _root(float((ours - theirs).square().sum()), float(theirs.square().sum()))


def _root(moved: float, size: float) -> float:
    """Return the root of a ratio of squares.

    It is 1 where there was nothing and now is something.
    """
    return (moved / size) ** 0.5 if size else float(moved > 0)
