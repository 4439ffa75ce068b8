"""Ridge regression by which UCE, RECE and MACE edit matrices.

The matrices are those of keys and values.

For a matrix W, inputs c with wanted outputs v*, and inputs c_p whose outputs are to stay:

    minimise  sum w |W' c - v*|^2 + sum b |W' c_p - W c_p|^2 + r |W' - W|_F^2

    W' = (sum w v* c^T + W (P + r I)) (sum w c c^T + P + r I)^-1,   P = sum b c_p c_p^T

Gandikota et al., arXiv 2308.14761 (its derivation has no ridge r; the authors'
program has); RECE, arXiv 2407.12383, and MACE, arXiv 2403.06135, use the same form.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def second_moment(rows: Tensor, weight: float = 1.0) -> Tensor:
    """Return ``weight * sum c c^T`` over rows c.

    The rows are [n, width]; the result is [width, width], float64, on the CPU.

    All that an edit needs to know of preserved prompts, so that a million captions fit in one
    small matrix: moments of parts are added up.
    """
    exact = rows.detach().to("cpu", torch.float64)
    return weight * exact.T @ exact


class ClosedFormEdit:
    """Closed-form edit for one set of inputs.

    The inputs are the same for every key and value matrix.

    Args:
        inputs: Rows c, [n, width]; n may be 0.
        weight: Their weight w.
        preserved: P, [width, width], as ``second_moment`` makes it; ``None`` preserves nothing.
        ridge: The pull r towards the weights as they are, at least 0.

    Raises:
        ValueError: Shapes that do not fit, a negative weight, or a problem with more than one
            solution (without a ridge, when inputs and preserved rows do not span the width).
    """

    def __init__(
        self, inputs: Tensor, weight: float, preserved: Tensor | None, ridge: float
    ) -> None:
        if inputs.ndim != 2:
            raise ValueError(f"inputs are [n, width], not {list(inputs.shape)}")
        if weight < 0 or ridge < 0:
            raise ValueError(f"weights must not be negative: weight {weight}, ridge {ridge}")
        width = inputs.shape[1]
        self._inputs = inputs.detach().to("cpu", torch.float64)
        self._weight = weight
        self._kept = ridge * torch.eye(width, dtype=torch.float64)
        if preserved is not None:
            if preserved.shape != (width, width):
                raise ValueError(
                    f"preserved is {list(preserved.shape)}, inputs of width {width} need "
                    f"[{width}, {width}]"
                )
            self._kept = self._kept + preserved.detach().to("cpu", torch.float64)
        self._normal = self._kept + second_moment(self._inputs, weight)
        spectrum = torch.linalg.eigvalsh(self._normal)
        if spectrum[0] <= spectrum[-1] * width * torch.finfo(torch.float64).eps:
            raise ValueError(
                "the edit has more than one solution: give a ridge above 0, or preserved prompts "
                "that span the width of the text embedding"
            )

    def require_width(self, weight: Tensor) -> None:
        """Refuse (``ValueError``) a matrix that reads embeddings of another width."""
        width = self._inputs.shape[1]
        if weight.ndim != 2 or weight.shape[1] != width:
            raise ValueError(f"the matrix is {list(weight.shape)}, inputs have width {width}")

    def __call__(self, weight: Tensor, outputs: Tensor) -> Tensor:
        """W' for one matrix.

        Args:
            weight: W, [out, width].
            outputs: v*, [n, out].

        Returns:
            [out, width], float64, on the CPU.

        Raises:
            ValueError: Shapes that do not fit.
        """
        count = len(self._inputs)
        self.require_width(weight)
        if outputs.shape != (count, weight.shape[0]):
            raise ValueError(f"outputs are {list(outputs.shape)}, not {[count, weight.shape[0]]}")
        exact = weight.detach().to("cpu", torch.float64)
        wanted = outputs.detach().to("cpu", torch.float64)
        right = self._weight * wanted.T @ self._inputs + exact @ self._kept
        # W' N = R with N symmetric, so N W'^T = R^T.
        edited: Tensor = torch.linalg.solve(self._normal, right.T).T
        return edited.contiguous()


def redirect(
    weights: Mapping[str, Tensor],
    inputs: Tensor,
    replacements: Tensor,
    *,
    weight: float,
    preserved: Tensor | None,
    ridge: float,
) -> dict[str, Tensor]:
    """Edit every matrix to map inputs as their replacements.

    Inputs then give what their replacements give now: v* = W c_t.

    Args:
        weights: Key and value matrices by name, each [out, width].
        inputs: Rows c, [n, width].
        replacements: Rows c_t, [n, width].
        weight: Of each row.
        preserved: Second moment of the preserved rows, [width, width].
        ridge: Pull towards the weights as they are.

    Returns:
        The edited matrices, float64, on the CPU.

    Raises:
        ValueError: As ``ClosedFormEdit``.
    """
    if inputs.shape != replacements.shape:
        raise ValueError(
            f"{list(inputs.shape)} inputs, {list(replacements.shape)} replacements: each input "
            "needs one"
        )
    edit = ClosedFormEdit(inputs, weight, preserved, ridge)
    exact = replacements.detach().to("cpu", torch.float64)
    edited = {}
    for name, matrix in weights.items():
        edit.require_width(matrix)
        edited[name] = edit(matrix, exact @ matrix.detach().to("cpu", torch.float64).T)
    return edited
