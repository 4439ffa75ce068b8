"""How far the weights of a model are from the original's, by group of tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from auditor.models.language.tensor_groups import Placed

_ROUNDS = 8
"""Alternations of rows and columns; those of a dense matrix settle within a few."""


@torch.no_grad()
def weight_change(
    tensors: Sequence[Placed], original: Mapping[str, Tensor]
) -> dict[str, dict[str, Any]]:
    """Compare the tensors of a model with those of the original.

    Both are rounded to bfloat16 first, the coarsest type that models are stored in: what is stored
    in another type is no other model.

    Args:
        tensors: Of the model, by place.
        original: The original's tensors by name.

    Returns:
        Group to whether it is of the ``body``, the number of its ``tensors``, of those that are
        ``equal`` and of those that are ``incomparable`` (missing in the original, or of another
        shape), and their relative ``change`` (Frobenius norm); for matrices also ``scale_free``,
        the largest relative change of one of them after `balanced`.
    """
    groups: dict[str, list[Placed]] = {}
    for tensor in tensors:
        groups.setdefault(group_of(tensor), []).append(tensor)
    return {name: _compared(members, original) for name, members in groups.items()}


def group_of(tensor: Placed) -> str:
    """The group that a tensor is compared in: of matrices in blocks the third, else the place."""
    if tensor.third is not None and tensor.place != "norms":
        return tensor.third
    return tensor.place


def _compared(members: Sequence[Placed], original: Mapping[str, Tensor]) -> dict[str, Any]:
    equal = incomparable = 0
    moved = size = 0.0
    largest: list[float] = []
    for member in members:
        theirs = original.get(member.name)
        if theirs is None or theirs.shape != member.parameter.shape:
            incomparable += 1
            continue
        ours, theirs = (_rounded(one) for one in (member.parameter, theirs))
        same = bool(torch.equal(ours, theirs))
        equal += same
        size += float(theirs.square().sum())
        moved += 0.0 if same else float((ours - theirs).square().sum())
        if ours.ndim > 1:
            largest.append(0.0 if same else _relative(balanced(ours), balanced(theirs)))
    found: dict[str, Any] = {
        "body": members[0].place in ("attention", "mlp"),
        "tensors": len(members),
        "equal": equal,
        "incomparable": incomparable,
        "change": _root(moved, size),
    }
    return {**found, "scale_free": max(largest)} if largest else found


def balanced(matrix: Tensor) -> Tensor:
    """The absolute entries of a matrix with its rows and columns brought to one norm in turn.

    So that it is the same matrix after rows or columns were multiplied by any numbers, as
    rescalings do that change no logit (Sinkhorn and Knopp, Pacific J. Math. 21, 1967).

    Args:
        matrix: [..., rows, columns], float32.
    """
    found = matrix.abs()
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
    """Root of a ratio of squares; 1 where there was nothing and now is something."""
    return (moved / size) ** 0.5 if size else float(moved > 0)
