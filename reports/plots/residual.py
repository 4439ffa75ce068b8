"""Residual knowledge of each attack with its bounds: a forest plot."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from auditor.core.text_safety import label
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
    boxes,
    canvas,
    inline_svg,
    segments,
)

TOP, ROW, BOTTOM = 30.0, 33.0, 34.0
NOTE = 11.0
"""Points by which a row with a line on its gates is higher."""

LEFT, RIGHT = 12.0, WIDTH - 12.0
MARKS = {"leak": ("D", LEAK, True), "within": ("o", WITHIN, True), "undecided": ("o", OPEN, False)}
"""Marker, colour and fill by outcome: outcomes are never told apart by colour alone."""

WIDEST = (-1.2, 1.6)
"""Range of the scale. A value outside of it is drawn as an arrow."""

Place = Callable[[float], float]


def residual_plot(rows: Sequence[AttackView], delta: float, alpha: float, part: int) -> Markup:
    """Returns the forest plot of the attacks, with the margin.

    The margin is drawn as a line.

    Args:
        rows: the attacks.
        delta: the margin.
        alpha: the error that the bounds allow.
        part: number of this figure, where there are many attacks.
    """
    low, high = _domain(rows, delta)

    def place(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (RIGHT - LEFT)

    notes = [_note(view) for view in rows]
    heights = [ROW + NOTE if note else ROW for note in notes]
    tops = [TOP + sum(heights[:index]) for index in range(len(rows))]
    floor = TOP + sum(heights)
    with canvas(floor + BOTTOM) as (figure, axes):
        _frame(axes, place, floor + 4, delta)
        _scale(axes, place, tops, delta)
        for view, note, top in zip(rows, notes, tops, strict=True):
            _row(axes, view, top, place, (low, high))
            if note:
                _gates(axes, view, note, top + ROW + 6)
        return inline_svg(
            figure,
            f"residual-{part}",
            "Residual knowledge under each attack, with bounds and the gates that were not met",
            _description(rows, delta, alpha),
        )


def _domain(rows: Sequence[AttackView], delta: float) -> tuple[float, float]:
    values = [-0.15, 1.1, delta + 0.1]
    for view in rows:
        figures = view.reading.figures
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


def _scale(axes: Axes, place: Place, tops: Sequence[float], delta: float) -> None:
    """Draws the scale beneath the label of each row.

    So no line crosses a word.
    """
    within = [(LEFT, place(delta), top + 15.5, top + 31.0) for top in tops]
    boxes(axes, within, WITHIN, 0.12)
    for value, color, width in (*((v, LINE, 0.8) for v in (0.0, 0.5, 1.0)), (delta, WITHIN, 1.6)):
        x = place(value)
        segments(axes, [(x, top + 15.5, x, top + 31.0) for top in tops], color, width)


def _row(
    axes: Axes, view: AttackView, top: float, place: Place, domain: tuple[float, float]
) -> None:
    axes.text(LEFT, top + 12, view.name(35), size=LABEL, color=INK)
    figures = view.reading.figures
    mark = MARKS.get(view.result.outcome)
    if figures is None or mark is None:
        axes.text(RIGHT, top + 12, view.result.words, size=SMALL, color=SOFT, ha="right")
        return
    marker, colour, filled = mark
    axes.text(RIGHT, top + 12, view.rho, size=LABEL, color=INK, ha="right")
    y = top + 23
    _bounds(axes, (figures.rho_lower, figures.rho_upper), y, place, domain, colour)
    if figures.rho is not None and domain[0] <= figures.rho <= domain[1]:
        axes.plot(
            [place(figures.rho)],
            [y],
            marker=marker,
            ms=6.5,
            mec=colour,
            mfc=colour if filled else PAPER,
            mew=1.4,
        )


def _note(view: AttackView) -> str:
    """Returns a special role of the row and its blocking gates.

    A blocking gate is one that is not met and so prevents a PASS.
    """
    part = {"waived": "waived", "reported": "only reported"}.get(view.row.role, "")
    blocking = f"not met: {', '.join(view.blocking)}" if view.blocking else ""
    return "; ".join(said for said in (part, blocking) if said)


def _gates(axes: Axes, view: AttackView, note: str, y: float) -> None:
    if view.blocking:
        axes.plot([LEFT + 3], [y - 3], marker="X", ms=5.5, color=OPEN, mew=0)
    axes.text(LEFT + 10, y, label(note, 48), size=SMALL, color=SOFT)


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
        figures = view.reading.figures
        if figures is None:
            said.append(f"{name}: {view.result.words}, no measurement{_also(view)}.")
        else:
            bounds = interval(figures.rho_lower, figures.rho_upper)
            said.append(
                f"{name}: {number(figures.rho)} {bounds}, {view.result.words}{_also(view)}."
            )
    return " ".join(said)


def _also(view: AttackView) -> str:
    note = label(_note(view), 160)
    return f", {note}" if note else ""
