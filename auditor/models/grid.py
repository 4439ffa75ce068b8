"""Grid of a quantizer, and the cell around each of its levels."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor


class Cells(NamedTuple):
    """Levels of a layer's weights, and the cell of each weight.

    A weight that stays in its cell is rounded to the same level.

    All three are float32 of shape [out, in].
    """

    levels: Tensor
    lower: Tensor
    """Least value that is surely rounded to the same level."""
    upper: Tensor
    """Largest value that is surely rounded to the same level."""


class Grid(ABC):
    """Rounding of weights one by one.

    Scales come from the weights alone, not from any data.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the grid, for example ``nf4``.

        Grids of one name have the same cells.
        """

    @abstractmethod
    def cells(self, weight: Tensor) -> Cells:
        """The cells of a layer's weights [out, in].

        Rounding a matrix of levels gives the same levels again, and so does rounding any matrix
        whose weights lie between ``lower`` and ``upper``; both hold for all weights together.
        """


class GridRounding:
    """A procedure that may round weights one by one to a grid."""

    @property
    def grid(self) -> Grid | None:
        """Grid to which it rounds weights.

        A suppression can be hidden within the cells of the grid, so that the rounding undoes it.
        None where the weights are not rounded, or where a weight's cell depends on more than the
        weights.
        """
        return None


def rounding_grid(procedure: object) -> Grid | None:
    """Return the grid to which an attack rounds weights, or None."""
    return procedure.grid if isinstance(procedure, GridRounding) else None
