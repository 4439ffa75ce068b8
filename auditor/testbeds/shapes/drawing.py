"""Pictures of coloured shapes, each with its exact mask.

The masks stand in for the segmentation model by which MACE (arXiv 2403.06135) finds its concept
in a picture.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

SIZE = 16
"""Width and height of a picture in pixels."""

JITTER = 1
"""Most pixels by which a shape is moved from the middle, in either direction."""

BACKGROUND = (1.0, 1.0, 1.0)
"""RGB in [0, 1] around a shape."""

COLORS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "red": (0.86, 0.12, 0.12),
        "green": (0.10, 0.62, 0.20),
        "blue": (0.12, 0.24, 0.86),
        "yellow": (0.95, 0.78, 0.05),
    }
)
"""RGB in [0, 1] by name."""

Region = Callable[[Tensor, Tensor], Tensor]
"""Function from coordinates right of and below a shape's middle, in pixels, to where the shape is.
"""


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return x**2 + y**2 <= 5.3**2


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) <= 4.6


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return (x.abs() <= (y + 6) / 2) & (y.abs() <= 5)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return (torch.minimum(x.abs(), y.abs()) <= 1.6) & (torch.maximum(x.abs(), y.abs()) <= 5.6)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return _circle(x, y) & (x**2 + y**2 >= 3.4**2)


def _bars(x: Tensor, y: Tensor) -> Tensor:
    return (x.abs() <= 5.6) & (y.abs() >= 2) & (y.abs() <= 5)


TRAINED: Mapping[str, Region] = MappingProxyType(
    {"circle": _circle, "square": _square, "triangle": _triangle, "cross": _cross}
)
"""Shapes that models learn."""

HELD_OUT: Mapping[str, Region] = MappingProxyType({"ring": _ring, "bars": _bars})
"""Shapes that no model ever sees."""


@dataclass(frozen=True)
class Drawing:
    """A picture of one shape.

    Attributes:
        image: RGB in [0, 1], float32 [3, SIZE, SIZE].
        mask: Where the shape is, bool [SIZE, SIZE].
    """

    image: Tensor
    mask: Tensor


def draw(shape: str, color: str, seed: int) -> Drawing:
    """Draw a shape, moved by at most ``JITTER`` pixels.

    Args:
        shape: A name in ``TRAINED`` or ``HELD_OUT``.
        color: A name in ``COLORS``.
        seed: Seed of the movement; the same seed gives the same picture on every machine.
    """
    chance = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    right, down = (chance.randint(-JITTER, JITTER) for _ in range(2))
    middle = (SIZE - 1) / 2
    along = torch.arange(SIZE, dtype=torch.float32) - middle
    region = {**TRAINED, **HELD_OUT}[shape]
    mask = region(along[None, :] - right, along[:, None] - down)
    return Drawing(painted(mask, COLORS[color]), mask)


def painted(mask: Tensor, color: tuple[float, float, float]) -> Tensor:
    """Return a picture with one colour where the mask is set.

    It is float32 [3, SIZE, SIZE].
    """
    ink, paper = torch.tensor(color)[:, None, None], torch.tensor(BACKGROUND)[:, None, None]
    return torch.where(mask, ink, paper)
