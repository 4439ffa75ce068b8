"""Windows of knowledge that a positive control leaves.

They are shares of the gap between O and R.
"""

from typing import NamedTuple

from auditor.core.roles import ControlKind


class Window(NamedTuple):
    """Least and largest share of the gap that may be left.

    The gap is that without attack.
    """

    lower: float
    upper: float


def window(kind: ControlKind, delta: float) -> Window:
    """Return the share that a control leaves, by the policy's margin.

    A visible control leaves clearly more than the margin: 0.30 to 0.40 of the gap at the
    usual margin of 0.10. Any other leaves at most half of the margin, so that no faithful
    measurement of it should find anything.

    Args:
        kind: kind of the control.
        delta: margin of residual knowledge, in (0, 1).
    """
    if kind != "visible":
        return Window(0.0, delta / 2)
    return Window(delta + (1 - delta) * 2 / 9, delta + (1 - delta) / 3)
