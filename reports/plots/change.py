"""Residual knowledge of each attack in two certificates, with bounds.

Certificate A is drawn above certificate B.
"""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from auditor.comparison.schema import AttackChange, AttackSide
from auditor.core.text_safety import label
from reports.number_format import interval, number, plain
from reports.plots.drawing import (
    INK,
    LABEL,
    LINE,
    ORIGINAL,
    PAPER,
    SMALL,
    SOFT,
    UNLEARNED,
    WIDTH,
    canvas,
    inline_svg,
)

ROWS = 14
"""Most attacks in one figure, which is as many as stay on one printed page."""

TOP, ROW, BOTTOM = 22.0, 42.0, 34.0
LEFT, RIGHT = 26.0, WIDTH - 44.0
WIDEST = (-1.2, 1.6)
"""Range of the scale. A value outside of it is drawn as an arrow."""

Place = Callable[[float], float]


def change_plots(attacks: Sequence[AttackChange], joined: bool) -> tuple[Markup, ...]:
    """Returns the figures of the attacks that either certificate measured.

    Args:
        attacks: attacks in the order of the page.
        joined: whether A and B are of one measure, so that a line may lead from one to the other.
    """
    shown = [
        change for change in attacks if _rho(change.a) is not None or _rho(change.b) is not None
    ]
    parts = [shown[start : start + ROWS] for start in range(0, len(shown), ROWS)]
    return tuple(_plot(part, joined, number) for number, part in enumerate(parts, start=1))


def _plot(changes: Sequence[AttackChange], joined: bool, part: int) -> Markup:
    low, high = _domain(changes)

    def place(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (RIGHT - LEFT)

    with canvas(TOP + ROW * len(changes) + BOTTOM) as (figure, axes):
        floor = TOP + ROW * len(changes)
        for value, meaning in ((0.0, "as retrained"), (1.0, "as original")):
            axes.text(place(value), floor + 14, plain(value), size=SMALL, color=SOFT, ha="center")
            axes.text(place(value), floor + 25, meaning, size=SMALL, color=SOFT, ha="center")
        for index, change in enumerate(changes):
            top = TOP + ROW * index
            axes.text(4.0, top + 2, label(change.label, 38), size=LABEL, color=INK)
            for value in (0.0, 1.0):
                axes.plot([place(value)] * 2, [top + 6, top + 33], color=LINE, lw=0.8)
            _side(axes, "A", change.a, top + 13, place, (low, high), ORIGINAL)
            _side(axes, "B", change.b, top + 26, place, (low, high), UNLEARNED)
            ends = _rho(change.a), _rho(change.b)
            if joined and ends[0] is not None and ends[1] is not None:
                axes.plot(
                    [place(ends[0]), place(ends[1])], [top + 13, top + 26], color=SOFT, lw=0.9
                )
        return inline_svg(
            figure, f"change-{part}", "Residual knowledge in A and in B", _description(changes)
        )


def _side(
    axes: Axes,
    name: str,
    side: AttackSide | None,
    y: float,
    place: Place,
    domain: tuple[float, float],
    colour: str,
) -> None:
    axes.text(6.0, y + 3, name, size=SMALL, color=colour, weight="bold")
    rho = _rho(side)
    if side is None or rho is None:
        axes.text(LEFT, y + 3, _words(side), size=SMALL, color=SOFT)
        return
    ends = []
    for sign, bound, edge in ((-1, side.rho_lower, domain[0]), (1, side.rho_upper, domain[1])):
        outside = bound is None or not math.isfinite(bound) or bound * sign > edge * sign
        end = place(edge if outside or bound is None else bound)
        ends.append(end)
        if outside:
            marker = "<" if sign < 0 else ">"
            axes.plot([end - 2 * sign], [y], marker=marker, ms=5, color=colour, mew=0)
        else:
            axes.plot([end, end], [y - 3, y + 3], color=colour, lw=1.4)
    axes.plot(ends, [y, y], color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot(
        [place(rho)],
        [y],
        marker="D" if side.named else "o",
        ms=6.0,
        mec=colour,
        mfc=colour if side.named else PAPER,
        mew=1.4,
    )
    axes.text(WIDTH - 4.0, y + 3, number(rho), size=SMALL, color=INK, ha="right")


def _domain(changes: Sequence[AttackChange]) -> tuple[float, float]:
    values = [-0.15, 1.1]
    for change in changes:
        for side in (change.a, change.b):
            if side is not None:
                found = (side.rho, side.rho_lower, side.rho_upper)
                values.extend(v for v in found if v is not None and math.isfinite(v))
    return max(min(values) - 0.05, WIDEST[0]), min(max(values) + 0.05, WIDEST[1])


def _rho(side: AttackSide | None) -> float | None:
    """Returns the figure that is drawn, or None."""
    if side is None or side.rho is None or not math.isfinite(side.rho):
        return None
    return side.rho


def _words(side: AttackSide | None) -> str:
    if side is None:
        return "not in this certificate"
    return "no residual" if side.status == "measured" else side.status


def _description(changes: Sequence[AttackChange]) -> str:
    said = ["0 is as the retrained model, 1 as the original."]
    for change in changes:
        for name, side in (("A", change.a), ("B", change.b)):
            rho = _rho(side)
            if side is None or rho is None:
                told = _words(side)
            else:
                told = f"{number(rho)} {interval(side.rho_lower, side.rho_upper)}"
                told += f", {side.outcome}"
            said.append(f"{label(change.label, 60)}, {name}: {told}.")
    return " ".join(said)
