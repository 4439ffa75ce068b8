"""Knowledge of the models side by side under each attack: paired dots."""

import math
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from auditor.core.text_safety import label
from reports.matrix import AttackView
from reports.number_format import number, plain
from reports.plain_names import plain_name
from reports.plots.drawing import (
    BASELINE,
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
    segments,
)

TOP, ROW, BOTTOM = 30.0, 33.0, 34.0
LEFT, RIGHT = 12.0, WIDTH - 12.0
MARKS = {"unlearned": ("D", UNLEARNED), "retrained": ("o", BASELINE), "original": ("s", ORIGINAL)}
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
KEY = (("unlearned", 9.0), ("retrained", 79.0), ("original", 144.0))
BEFORE = 206.0
NAME = 46
"""Most characters of an attack's plain name; a longer one would leave the figure."""


def knowledge_plot(
    rows: Sequence[AttackView], before: float | None, part: int, *, plainly: bool = False
) -> Markup:
    """Returns a plot of each model's K under each attack.

    K is of the forget set, by the primary metric.

    Args:
        rows: the attacks.
        before: K of the unlearned model without attack, drawn hollow in every row.
        part: number of this figure, where there are many attacks.
        plainly: whether attacks go by their plain names, and not by their labels.
    """
    with canvas(TOP + ROW * len(rows) + BOTTOM) as (figure, axes):
        _frame(axes, TOP + ROW * len(rows) + 4)
        tops = [TOP + ROW * index for index in range(len(rows))]
        for value in TICKS:
            x = _place(value)
            segments(axes, [(x, top + 15.5, x, top + 31.0) for top in tops], LINE, 0.8)
        for index, view in enumerate(rows):
            name = label(str(plain_name(view.row.label)), NAME) if plainly else view.name(35)
            _row(axes, view, name, TOP + ROW * index, before)
        return inline_svg(
            figure,
            f"knowledge-{part}",
            "Mean knowledge of the forget set, by model, under each attack",
            _description(rows, before),
        )


def _place(value: float) -> float:
    return LEFT + min(max(value, 0.0), 1.0) * (RIGHT - LEFT)


def _frame(axes: Axes, floor: float) -> None:
    for name, x in KEY:
        marker, colour = MARKS[name]
        axes.plot([x + 3], [13.0], marker=marker, ms=6.5, color=colour, mew=0)
        axes.text(x + 11, 16.5, name, size=LABEL, color=INK)
    axes.plot([BEFORE], [13.0], marker="D", ms=5.5, mec=UNLEARNED, mfc=PAPER, mew=1.2)
    axes.text(BEFORE + 7, 16.5, "before", size=LABEL, color=INK)
    for value in TICKS:
        axes.text(_place(value), floor + 10, plain(value), size=SMALL, color=SOFT, ha="center")
    axes.text(_place(0.0) - 4, floor + 21, "knows nothing", size=SMALL, color=SOFT, ha="left")
    axes.text(_place(1.0) + 4, floor + 21, "knows all", size=SMALL, color=SOFT, ha="right")


def _row(axes: Axes, view: AttackView, name: str, top: float, before: float | None) -> None:
    axes.text(LEFT, top + 12, name, size=LABEL, color=INK)
    y = top + 23
    values = {
        "original": view.original,
        "retrained": view.baseline,
        "unlearned": view.unlearned,
    }
    known = {name: v for name, v in values.items() if v is not None and math.isfinite(v)}
    if not known:
        axes.text(RIGHT, top + 12, view.result.words, size=SMALL, color=SOFT, ha="right")
        return
    ends = [_place(value) for value in known.values()]
    axes.plot([min(ends), max(ends)], [y, y], color=LINE, lw=2.2, solid_capstyle="round")
    after = known.get("unlearned")
    if after is not None and before is not None and math.isfinite(before) and not view.reference:
        axes.plot([_place(before), _place(after)], [y, y], color=UNLEARNED, lw=1.6)
        axes.plot([_place(before)], [y], marker="D", ms=5.5, mec=UNLEARNED, mfc=PAPER, mew=1.2)
    for model, value in known.items():
        marker, colour = MARKS[model]
        axes.plot([_place(value)], [y], marker=marker, ms=6.5, mfc=colour, mec=PAPER, mew=0.8)


def _description(rows: Sequence[AttackView], before: float | None) -> str:
    said = [f"Unlearned model without attack: {number(before)}."]
    said.extend(
        f"{label(view.row.label, 60)}: unlearned {number(view.unlearned)}, "
        f"retrained {number(view.baseline)}, original {number(view.original)}."
        for view in rows
    )
    return " ".join(said)
