"""Heat map of the attack matrix, with a number in every cell.

A cell without a number is hatched.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from auditor.core.text_safety import label
from reports.matrix import AttackView
from reports.number_format import number, plain
from reports.plots.drawing import (
    HEAT,
    INK,
    LABEL,
    LEAK,
    LINE,
    SMALL,
    SOFT,
    WIDTH,
    boxes,
    canvas,
    hatched,
    inline_svg,
)
from reports.results import reason

TOP, ROW, BOTTOM = 26.0, 34.0, 26.0
LEFT, RIGHT = 12.0, WIDTH - 12.0
RHO = "\N{GREEK SMALL LETTER RHO}"
OTHER = "†"
"""Mark of a row whose figures are by another metric than the primary one."""
COLUMNS = {
    "unlearned": (LEFT, LEFT + 57.0),
    "retrained": (LEFT + 57.0, LEFT + 114.0),
    "original": (LEFT + 114.0, LEFT + 171.0),
    RHO: (LEFT + 177.0, RIGHT),
}
"""Left and right edge of each column by its name. Columns that do not show K stand apart."""

STRONGEST = 0.45
"""Opacity at 1. A number on it keeps a contrast of 4.5 to 1, on light and on dark pages."""

KEY = (
    ("K", HEAT, LEFT + 12.0, (0.0, 0.25, 0.5, 0.75, 1.0)),
    (RHO, LEAK, LEFT + 168.0, (0.0, 0.5, 1.0)),
)
"""Scales of the key: title, colour, left edge and values of each."""


def attack_matrix(rows: Sequence[AttackView], part: int) -> Markup:
    """Returns a heat map of K and residual knowledge under each attack.

    Args:
        rows: the attacks.
        part: number of this figure, where there are many attacks.
    """
    height = TOP + ROW * len(rows) + BOTTOM
    with canvas(height) as (figure, axes):
        for name, (left, right) in COLUMNS.items():
            middle = (left + right) / 2
            axes.text(middle, TOP - 9, name, size=LABEL, color=INK, ha="center")
        for index, view in enumerate(rows):
            _row(axes, view, TOP + ROW * index)
        _key(axes, height - BOTTOM + 6)
        return inline_svg(
            figure,
            f"matrix-{part}",
            "Knowledge of each model and residual knowledge under each attack",
            _description(rows),
        )


def _row(axes: Axes, view: AttackView, top: float) -> None:
    axes.text(LEFT, top + 11, view.name(33), size=LABEL, color=INK)
    found = view.result.outcome == "leak"
    axes.text(
        RIGHT,
        top + 11,
        f"{view.result.words} {OTHER}" if view.metric else view.result.words,
        size=SMALL,
        color=LEAK if found else SOFT,
        ha="right",
    )
    span = (top + 15, top + 31)
    if view.row.status != "measured":
        hatched(axes, (LEFT, RIGHT, *span))
        why = label(str(reason(view.row)), 46)
        axes.text((LEFT + RIGHT) / 2, top + 26.5, why, size=SMALL, color=INK, ha="center")
        return
    figures = view.reading.figures
    values = {
        "unlearned": view.unlearned,
        "retrained": view.baseline,
        "original": view.original,
        RHO: figures.rho if figures else None,
    }
    for name, value in values.items():
        area = (*COLUMNS[name], *span)
        _cell(axes, area, value, LEAK if name == RHO else HEAT)
    if found:
        left, right = COLUMNS[RHO]
        axes.add_patch(
            Rectangle(
                (left, span[0]),
                right - left,
                span[1] - span[0],
                facecolor="none",
                edgecolor=LEAK,
                lw=1.6,
            )
        )


def _cell(
    axes: Axes, area: tuple[float, float, float, float], value: float | None, color: str
) -> None:
    left, right, top, bottom = area
    if value is None or not math.isfinite(value):
        hatched(axes, area)
    else:
        shade = round(STRONGEST * min(max(value, 0.0), 1.0), 3)
        boxes(axes, [area], color, shade)
        axes.add_patch(
            Rectangle(
                (left, top), right - left, bottom - top, facecolor="none", edgecolor=LINE, lw=0.8
            )
        )
    size = LABEL if value is not None else SMALL
    middle = (left + right) / 2
    axes.text(middle, bottom - 4.5, number(value), size=size, color=INK, ha="center")


def _key(axes: Axes, top: float) -> None:
    step = 24.0
    for name, color, start, shades in KEY:
        end = start + step * len(shades)
        axes.text(start - 4, top + 12, name, size=SMALL, color=SOFT, ha="right")
        for position, value in enumerate(shades):
            left = start + step * position
            boxes(axes, [(left, left + step, top + 2, top + 16)], color, STRONGEST * value)
            text = plain(value)
            axes.text(left + step / 2, top + 12, text, size=SMALL, color=INK, ha="center")
        axes.add_patch(
            Rectangle((start, top + 2), end - start, 14, facecolor="none", edgecolor=LINE, lw=0.8)
        )


def _description(rows: Sequence[AttackView]) -> str:
    said = []
    for view in rows:
        name = label(view.row.label, 60)
        if view.row.status != "measured":
            why = label(str(reason(view.row)), 120)
            said.append(f"{name}: {view.result.words}, not measured: {why}.")
        else:
            said.append(
                f"{name}: K unlearned {number(view.unlearned)}, retrained "
                f"{number(view.baseline)}, original {number(view.original)}; {RHO} {view.rho}; "
                f"{view.result.words}{f', by {label(view.metric, 60)}' if view.metric else ''}."
            )
    return " ".join(said)
