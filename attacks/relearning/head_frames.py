"""Frames of attention's matrices, whose heads can be mixed.

A model's function does not change where the values of a head are multiplied by any invertible
matrix and its output projection by the inverse, and likewise queries and keys that no rotation
tells apart. Where that matrix is ill-conditioned, no scale of single rows and columns undoes it.
So the rows of a head are written as ``L V``, where the rows of V are orthonormal: an orthonormal
basis of the space that they span, which is the same whatever they are multiplied by.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

_OUTPUTS = frozenset({"o_proj", "out_proj", "c_proj", "dense", "o", "wo", "out_lin", "proj"})
"""What transformers calls the output projection of attention; its heads are columns."""
_WIDTHS = ("head_dim", "head_size", "key_value_proj_dim", "attention_head_size")
"""What transformers calls the width of a head in a module of attention."""
_ROUNDS = 64
"""Rounds at most in which bases and scales settle; a dense matrix takes about ten."""
_TOLERANCE = 1e-5
"""Relative change in a round at which the scales have settled."""


class Heads(NamedTuple):
    """Where a matrix of attention has its heads."""

    side: Literal["rows", "columns"]
    width: int
    """Rows or columns of one head; those of all heads follow one another."""


class Blocks(NamedTuple):
    """A block-diagonal factor of one dimension of a tensor."""

    matrices: Tensor
    """[blocks, width, width]; float32."""
    dim: int

    def apply_(self, tensor: Tensor) -> None:
        """Multiply a tensor in place."""
        self._by(tensor, self.matrices)

    def apply_transposed_(self, tensor: Tensor) -> None:
        """Multiply a tensor in place by the transposed matrices, as gradients are."""
        self._by(tensor, self.matrices.mT)

    def _by(self, tensor: Tensor, matrices: Tensor) -> None:
        first = tensor.movedim(self.dim, 0)
        split = first.reshape(*matrices.shape[:2], -1)
        first.copy_((matrices @ split.to(matrices.dtype)).reshape(first.shape))

    def of(self, vector: Tensor) -> Tensor:
        """Return the vector of which the blocks make this one."""
        split = vector.view(*self.matrices.shape[:2], 1)
        inverse: Tensor = torch.linalg.pinv(self.matrices)
        return (inverse @ split).flatten()


def attention_heads(network: nn.Module) -> Mapping[str, Heads]:
    """Return where the heads are, by the layer's name."""
    found = {}
    for path, module in network.named_modules():
        widths = (getattr(module, name, None) for name in _WIDTHS)
        width = next((w for w in widths if isinstance(w, int) and w > 1), None)
        if width is None:
            continue
        for name, layer in module.named_children():
            if hasattr(layer, "weight") or hasattr(layer, "qweight"):
                side: Literal["rows", "columns"] = "columns" if name in _OUTPUTS else "rows"
                found[f"{path}.{name}"] = Heads(side, width)
    return found


@torch.no_grad()
def mixed_rows(weight: Tensor, width: int) -> tuple[Tensor, Tensor] | None:
    """Find the frame of a matrix with heads of rows.

    The matrix is ``L V diag(columns)`` with one block of L for a head. Every head's rows of V are
    orthogonal, and all rows and columns of V have a root mean square of one. Of the orthonormal
    bases of a head's space, the one nearest to a fixed matrix is taken.

    Args:
        weight: [rows, columns], of any float type.
        width: rows of one head.

    Returns:
        Blocks of L [heads, width, width] and the columns' scale, or None where the heads are no
        whole number, or wider than the matrix, or one is without any weight.
    """
    rows, across = weight.shape
    if rows % width or width > across:
        return None
    matrix = weight.float()
    sizes = matrix.abs().amax(1)
    columns = matrix.div(torch.where(sizes > 0, sizes, 1.0).unsqueeze(1)).abs().amax(0)
    kept = columns > 0
    heads = matrix.view(-1, width, across)
    if not (heads.flatten(1).any(1).all() and kept.any()):
        return None
    columns = torch.where(kept, columns, 1.0)
    for _ in range(_ROUNDS):
        basis, _ = torch.linalg.qr((heads / columns).mT)
        change = basis.square().mean((0, 2)).mul(int(kept.sum())).sqrt()
        change = torch.where(kept, change, 1.0)
        columns = columns * change
        if change.log().abs().amax() < _TOLERANCE:
            break
    basis, lower = torch.linalg.qr((heads / columns).mT)
    draws = torch.Generator().manual_seed(0)
    fixed = torch.randn(width, across, generator=draws).to(basis.device)
    left, _, right = torch.linalg.svd(fixed @ basis)
    columns = torch.where(kept, columns, columns[kept].log().mean().exp())
    return lower.mT @ (left @ right).mT / kept.sum().sqrt(), columns
