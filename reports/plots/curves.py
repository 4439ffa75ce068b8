"""Curves of one name under one attack, a line for each model."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log1p

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from auditor.core.arms import Arm
from auditor.core.text_safety import label
from reports.curves import POINTS, ROC, Line, Panel
from reports.messages import curve_name
from reports.number_format import plain
from reports.plots.drawing import (
    BASELINE,
    INK,
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

LEFT, RIGHT = 36.0, WIDTH - 14.0
TOP, BOTTOM = 42.0, 28.0
SQUARE, FLAT = RIGHT - LEFT, 130.0
"""Heights of the field in points. Both axes of an ROC are rates, so its field is a square."""

MARKS: dict[str, tuple[str, str]] = {Arm.UNLEARNED: ("D", UNLEARNED), Arm.ORIGINAL: ("s", ORIGINAL)}
BASELINES = ("o", BASELINE)
DASHES: tuple[tuple[float, ...], ...] = ((), (4.0, 2.0), (1.5, 1.5), (6.0, 2.0, 1.5, 2.0))
"""Dash patterns that distinguish the retrained models."""

DEPTH: dict[str, int] = {Arm.ORIGINAL: 1, Arm.UNLEARNED: 2}
"""Order of drawing: higher is drawn above. The retrained models lie lowest."""

KEY = (("unlearned", 12.0), ("retrained", 76.0), ("original", 139.0))
CHANCE = 196.0
"""Left edge of the entry for chance in the key."""
MARKED = 8
"""Most points of a curve with a marker; on a longer curve the markers would overlap."""

APART = (28.0, 13.0)
"""Least distance in points between two numbers along x, and along y."""


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        place: from a value to its place in the figure.
        ticks: where numbers stand.
    """

    place: Callable[[float], float]
    ticks: tuple[float, ...]


def curve_plot(panel: Panel, position: int) -> Markup:
    """Returns one figure.

    Args:
        panel: what is drawn.
        position: number of this figure on the page.
    """
    values = [value for line in panel.lines for point in line.points for value in point]
    rates = panel.name == ROC and all(0.0 <= value <= 1.0 for value in values)
    floor = TOP + (SQUARE if rates else FLAT)
    along = _along([x for line in panel.lines for x, _ in line.points], rates)
    upwards = _upwards([y for line in panel.lines for _, y in line.points], floor)
    with canvas(floor + BOTTOM) as (figure, axes):
        _frame(axes, panel, along, upwards, floor)
        if rates:
            ends = (along.place(0.0), upwards.place(0.0), along.place(1.0), upwards.place(1.0))
            segments(axes, [ends], SOFT, 0.9)
            axes.plot([CHANCE, CHANCE + 12], [10, 10], color=SOFT, lw=0.9)
            axes.text(CHANCE + 15, 13, "chance", size=SMALL, color=INK)
        _lines(axes, panel.lines, along, upwards)
        return inline_svg(
            figure,
            f"curve-{position}",
            f"{label(curve_name(panel.name), 60)}, {label(panel.view.row.label, 60)}",
            _description(panel),
        )


def _along(xs: Sequence[float], rates: bool) -> Scale:
    low, high = (0.0, 1.0) if rates else _ends(xs)
    places = sorted(set(xs))
    crowded = low >= 0 and statistics.median(places) < low + (high - low) / 4
    if not rates and len(places) > 4 and crowded:
        unit = min(x for x in places if x > 0)
        reach = log1p(high / unit) - log1p(low / unit)

        def place(x: float) -> float:
            return LEFT + (log1p(x / unit) - log1p(low / unit)) / reach * (RIGHT - LEFT)

        return Scale(place, _spaced(places, place, APART[0]))

    def evenly(x: float) -> float:
        return LEFT + (x - low) / (high - low) * (RIGHT - LEFT)

    return Scale(evenly, _spaced(_round(low, high), evenly, APART[0]))


def _upwards(ys: Sequence[float], floor: float) -> Scale:
    low, high = (0.0, 1.0) if all(0.0 <= y <= 1.0 for y in ys) else _ends(ys)

    def place(y: float) -> float:
        return floor - (y - low) / (high - low) * (floor - TOP)

    return Scale(place, _spaced(_round(low, high), place, APART[1]))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    wide = max(abs(low), abs(high), 1.0)
    return (low, high) if high - low > 1e-9 * wide else (low - wide / 2, low + wide / 2)


def _round(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = (high - low) * 1e-9
    return [float(t) + 0.0 for t in ticks if low - slack <= t <= high + slack]


def _spaced(
    ticks: Sequence[float], place: Callable[[float], float], apart: float
) -> tuple[float, ...]:
    """Returns the ticks whose numbers do not overlap.

    The last tick is kept, and the others are chosen backwards from it.
    """
    kept: list[float] = []
    for tick in reversed(ticks):
        if not kept or abs(place(kept[-1]) - place(tick)) >= apart:
            kept.append(tick)
    return tuple(reversed(kept))


def _frame(axes: Axes, panel: Panel, along: Scale, upwards: Scale, floor: float) -> None:
    present = {_name(line.of) for line in panel.lines}
    for name, x in KEY:
        if name in present:
            marker, color = MARKS.get(name, BASELINES)
            axes.plot([x, x + 12], [10, 10], color=color, lw=1.6)
            axes.plot([x + 6], [10], marker=marker, ms=5.5, mfc=color, mec=PAPER, mew=0.8)
            axes.text(x + 15, 13, name, size=SMALL, color=INK)
    axes.text(12, TOP - 10, f"↑ {label(panel.y, 48)}", size=SMALL, color=SOFT)
    axes.text(RIGHT, floor + 24, f"{label(panel.x, 46)} →", size=SMALL, color=SOFT, ha="right")
    for y in upwards.ticks:
        text = plain(y)
        axes.text(LEFT - 4, upwards.place(y) + 3, text, size=SMALL, color=SOFT, ha="right")
    for x in along.ticks:
        axes.text(along.place(x), floor + 12, plain(x), size=SMALL, color=SOFT, ha="center")
    across = [(LEFT, upwards.place(y), RIGHT, upwards.place(y)) for y in upwards.ticks]
    down = [(along.place(x), floor, along.place(x), floor + 3) for x in along.ticks]
    segments(axes, [*across, *down, (LEFT, floor, RIGHT, floor)], LINE, 0.7)


def _lines(axes: Axes, lines: Sequence[Line], along: Scale, upwards: Scale) -> None:
    baselines = [of for of in dict.fromkeys(line.of for line in lines) if of not in MARKS]
    for line in sorted(lines, key=lambda line: DEPTH.get(line.of, 0)):
        marker, color = MARKS.get(line.of, BASELINES)
        dashes = () if line.of in MARKS else DASHES[baselines.index(line.of) % len(DASHES)]
        points = line.thinned(POINTS)
        [drawn] = axes.plot(
            [along.place(x) for x, _ in points],
            [upwards.place(y) for _, y in points],
            color=color,
            lw=1.6,
            marker=marker,
            ms=5.5,
            mfc=color,
            mec=PAPER,
            mew=0.8,
            markevery=max(1, len(points) // MARKED),
        )
        if dashes:
            drawn.set_dashes(dashes)


def _name(of: str) -> str:
    return of if of in MARKS else "retrained"


def _description(panel: Panel) -> str:
    said = [f"{label(panel.y, 80)} against {label(panel.x, 80)}."]
    for line in panel.lines:
        (x0, y0), (x1, y1) = line.points[0], line.points[-1]
        said.append(
            f"{label(line.of, 40)}: {plain(y0)} at {plain(x0)}, {plain(y1)} at {plain(x1)}."
        )
    return " ".join(said)
