"""How much knowledge a planted suppression leaves, as shares of the gap between O and R."""

from typing import NamedTuple

from auditor.statistics import PlantKind


class Window(NamedTuple):
    """Least and largest share of the gap without attack that may be left."""

    lower: float
    upper: float


def window(kind: PlantKind, delta: float) -> Window:
    """How much a plant leaves, by the policy's margin.

    A partial suppression leaves clearly more than the margin: 0.30 to 0.40 of the gap at the
    usual margin of 0.10. A hidden one leaves at most half of the margin, so that no faithful
    measurement of it should find anything.

    Args:
        kind: which plant.
        delta: margin of residual knowledge, in (0, 1).
    """
    if kind == "hidden":
        return Window(0.0, delta / 2)
    return Window(delta + (1 - delta) * 2 / 9, delta + (1 - delta) / 3)
