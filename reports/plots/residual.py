"""Residual knowledge of each attack with its bounds: a forest plot."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from reports.matrix import AttackView
from reports.number_format import interval, number, plain
from reports.plots.drawing import (
    INK,
    LABEL,
    LEAK,
    LINE,
    OPEN,
    PAPER,
    SMALL,
    SOFT,
    WIDTH,
    WITHIN,
    canvas,
    inline_svg,
)
from reports.visible_text import label

TOP, ROW, BOTTOM = 30.0, 33.0, 34.0
LEFT, RIGHT = 12.0, WIDTH - 12.0
MARKS = {"leak": ("D", LEAK, True), "within": ("o", WITHIN, True), "undecided": ("o", OPEN, False)}
"""Outcome to marker, colour and whether it is filled: never told apart by colour alone."""

WIDEST = (-1.2, 1.6)
"""What lies outside is drawn as an arrow."""

Place = Callable[[float], float]


def residual_plot(rows: Sequence[AttackView], delta: float, alpha: float, part: int) -> Markup:
    """Returns the forest plot of these attacks, with the margin as a line.

    Args:
        rows: the attacks.
        delta: the margin.
        alpha: the error that the bounds allow.
        part: number of this figure, where there are many attacks.
    """
    low, high = _domain(rows, delta)

    def place(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (RIGHT - LEFT)

    with canvas(TOP + ROW * len(rows) + BOTTOM) as (figure, axes):
        _frame(axes, place, TOP + ROW * len(rows) + 4, delta)
        for index, view in enumerate(rows):
            _scale(axes, place, TOP + ROW * index, delta)
            _row(axes, view, TOP + ROW * index, place, (low, high))
        return inline_svg(
            figure,
            f"residual-{part}",
            "Residual knowledge under each attack, with bounds",
            _description(rows, delta, alpha),
        )


def _domain(rows: Sequence[AttackView], delta: float) -> tuple[float, float]:
    values = [-0.15, 1.1, delta + 0.1]
    for view in rows:
        figures = view.row.figures
        if figures is not None:
            found = (figures.rho, figures.rho_lower, figures.rho_upper)
            values.extend(v for v in found if v is not None and math.isfinite(v))
    return max(min(values) - 0.05, WIDEST[0]), min(max(values) + 0.05, WIDEST[1])


def _frame(axes: Axes, place: Place, floor: float, delta: float) -> None:
    for value, meaning in ((0.0, "as retrained"), (0.5, ""), (1.0, "as original")):
        axes.text(place(value), floor + 10, plain(value), size=SMALL, color=SOFT, ha="center")
        axes.text(place(value), floor + 21, meaning, size=SMALL, color=SOFT, ha="center")
    axes.text(
        place(delta),
        TOP - 11,
        f"margin δ = {plain(delta)}",
        size=LABEL,
        color=WITHIN,
        ha="left" if place(delta) < WIDTH / 2 else "right",
    )
    axes.plot([place(delta)] * 2, [TOP - 7, TOP], color=WITHIN, lw=1.6)


def _scale(axes: Axes, place: Place, top: float, delta: float) -> None:
    """Draws the scale beneath the label of a row, so that no line crosses a word."""
    ends = [top + 15.5, top + 31.0]
    axes.fill_between([place(-9.0), place(delta)], ends[0], ends[1], color=WITHIN, alpha=0.12, lw=0)
    for value in (0.0, 0.5, 1.0):
        axes.plot([place(value)] * 2, ends, color=LINE, lw=0.8)
    axes.plot([place(delta)] * 2, ends, color=WITHIN, lw=1.6)


def _row(
    axes: Axes, view: AttackView, top: float, place: Place, domain: tuple[float, float]
) -> None:
    axes.text(LEFT, top + 12, label(view.row.label, 35), size=LABEL, color=INK)
    figures = view.row.figures
    mark = MARKS.get(view.result.outcome)
    if figures is None or mark is None:
        axes.text(RIGHT, top + 12, view.result.words, size=SMALL, color=SOFT, ha="right")
        return
    marker, colour, filled = mark
    axes.text(RIGHT, top + 12, view.rho, size=LABEL, color=INK, ha="right")
    y = top + 23
    _bounds(axes, (figures.rho_lower, figures.rho_upper), y, place, domain, colour)
    if figures.rho is not None and math.isfinite(figures.rho):
        axes.plot(
            [place(figures.rho)],
            [y],
            marker=marker,
            ms=6.5,
            mec=colour,
            mfc=colour if filled else PAPER,
            mew=1.4,
        )


def _bounds(
    axes: Axes,
    bounds: tuple[float | None, float | None],
    y: float,
    place: Place,
    domain: tuple[float, float],
    colour: str,
) -> None:
    ends = []
    for side, bound in zip((-1, 1), bounds, strict=True):
        edge = domain[0] if side < 0 else domain[1]
        outside = bound is None or not math.isfinite(bound) or bound * side > edge * side
        end = place(edge) if outside else place(bound or 0.0)
        ends.append(end)
        if outside:
            marker = "<" if side < 0 else ">"
            axes.plot([end - 2 * side], [y], marker=marker, ms=6, color=colour, mew=0)
        else:
            axes.plot([end, end], [y - 4, y + 4], color=colour, lw=1.6)
    axes.plot(ends, [y, y], color=colour, lw=1.8, solid_capstyle="butt")


def _description(rows: Sequence[AttackView], delta: float, alpha: float) -> str:
    said = [
        f"Margin {plain(delta)}; bounds each at confidence {100 * (1 - alpha):.4g} per cent. "
        "0 is as the retrained model, 1 as the original."
    ]
    for view in rows:
        name = label(view.row.label, 60)
        figures = view.row.figures
        if figures is None:
            said.append(f"{name}: {view.result.words}, no measurement.")
        else:
            bounds = interval(figures.rho_lower, figures.rho_upper)
            said.append(f"{name}: {number(figures.rho)} {bounds}, {view.result.words}.")
    return " ".join(said)
