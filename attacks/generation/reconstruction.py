"""Error of pictures that a model drew after given ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from auditor.core.findings import SideFigure
from auditor.core.messages import Message, message

if TYPE_CHECKING:
    from torch import Tensor

Errors = npt.NDArray[np.float64]
"""Mean squared error of each picture, [n]."""

_NORMAL = 1.96
"""Standard errors to either side of a 95 % interval."""


def pixel_errors(images: "Tensor", given: "Tensor") -> Errors:
    """Return the mean squared error of each image, [n].

    Args:
        images: what was drawn, [n, 3, height, width] in [0, 1].
        given: what it was drawn after, of the same shape.
    """
    squares = (images - given.to(images)).square().mean(dim=(1, 2, 3))
    found: Errors = squares.double().cpu().numpy()
    return found


def mean_error(errors: Errors) -> dict[str, float | None]:
    """Return the mean of errors and its standard error.

    There is no standard error of a single one.
    """
    spread = float(errors.std(ddof=1) / len(errors) ** 0.5) if len(errors) > 1 else None
    return {"mean": float(errors.mean()), "spread": spread}


def bounds(noted: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean error.

    It is None where there is no standard error.

    Args:
        noted: a mean and its standard error.
    """
    mean, spread = noted["mean"], noted["spread"]
    if spread is None:
        return None
    return max(0.0, mean - _NORMAL * spread), mean + _NORMAL * spread


def error_figure(name: str, arm: str, noted: Mapping[str, Any], *remarks: Message) -> SideFigure:
    """Return an arm's mean error with its interval.

    Args:
        name: code of the figure.
        arm: arm that drew.
        noted: a mean and its standard error.
        remarks: what else is to be said of it.
    """
    lower, upper = bounds(noted) or (None, None)
    said = (message("mean_squared_pixel_error"), *remarks)
    return SideFigure(name, arm, noted["mean"], lower, upper, remarks=said)
