"""Histograms of D over the facts, one for each attack.

D is how much more of a fact is known than by the baseline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from auditor.core.roles import Role
from auditor.core.text_safety import label
from reports.matrix import AttackView, foremost, weight
from reports.number_format import count, plain
from reports.plots.drawing import (
    BASELINE,
    INK,
    LABEL,
    LEAK,
    LINE,
    SMALL,
    SOFT,
    UNLEARNED,
    WIDTH,
    canvas,
    inline_svg,
    segments,
)

BINS = 40
"""Number of bins, of equal width from -1 to 1, as in the certificate."""

WHOLE = 0.5
"""Half of the largest D that there can be."""

BANDS = (-1.0, -0.5, -0.1, 0.1, WHOLE, 1.0)
"""Edges of the bands of the table; each is also the edge of a bin."""

PANELS = 12
"""Most attacks whose histogram is drawn."""

MOST = 2**53
"""Largest credible count; a larger one is no count of facts."""

LEFT, RIGHT = 30.0, WIDTH - 12.0
TOP, FLOOR, HEIGHT = 36.0, 98.0, 122.0


@dataclass(frozen=True)
class Spread:
    """The facts by D under one attack.

    Attributes:
        view: the attack.
        unlearned: facts in each bin, for the unlearned model.
        retrained: the same for a retrained model against the others; None where there is none.
    """

    view: AttackView
    unlearned: tuple[int, ...]
    retrained: tuple[int, ...] | None

    @property
    def facts(self) -> int:
        """Number of facts."""
        return sum(self.unlearned)

    @property
    def bands(self) -> tuple[int, ...]:
        """Facts in each band of the table."""
        edges = [_bin(edge) for edge in BANDS]
        return tuple(sum(self.unlearned[a:b]) for a, b in pairwise(edges))

    @property
    def leaked(self) -> int | None:
        """Facts that leak, as the verdict counts them; None without figures."""
        figures = self.view.reading.figures
        return None if figures is None else figures.leak.leaked

    @property
    def by_chance(self) -> int | None:
        """The most of any retrained model against the others; None where unknown."""
        figures = self.view.reading.figures
        count = None if figures is None else figures.leak_count
        return None if count is None else count.baseline


def band_names() -> tuple[str, ...]:
    """Returns what stands above the columns of the table."""
    edges = [plain(edge) for edge in BANDS]
    middle = [f"{a} to {b}" for a, b in pairwise(edges[1:-1])]
    return (f"D < {edges[1]}", *middle, f"D ≥ {edges[-2]}")


def spreads(rows: Sequence[AttackView]) -> list[Spread]:
    """Returns the distributions that the certificate has, those that matter first.

    Of attacks that count alike, those with the most leaks: under a low mean they are what the
    figure is there to show.
    """
    found = []
    for view in foremost(rows):
        told = view.reading.distribution
        if view.row.status == "measured" and told is not None and _sound(told.unlearned):
            retrained = told.retrained if told.retrained and _sound(told.retrained) else None
            found.append(Spread(view, told.unlearned, retrained))
    return sorted(found, key=lambda spread: (weight(spread.view), -(spread.leaked or 0)))


def drawn(found: Sequence[Spread]) -> list[Spread]:
    """Returns the spreads whose histograms are drawn.

    They are of attacks that found a leak or are mandatory.
    """
    return [s for s in found if s.view.row.named or s.view.row.role is Role.MANDATORY][:PANELS]


def distribution_plot(spread: Spread, position: int) -> Markup:
    """Returns one histogram.

    Its counts are on the scale of log(1 + count), on which one fact of 5,000 is seen.

    Args:
        spread: from `spreads`.
        position: number of this figure on the page.
    """
    most = max(*spread.unlearned, *(spread.retrained or ()))
    with canvas(HEIGHT) as (figure, axes):
        axes.text(12.0, 12, spread.view.name(44), size=LABEL, color=INK)
        color = LEAK if spread.leaked else SOFT
        axes.text(RIGHT, 26, f"leaked: {spread.view.leaked}", size=LABEL, color=color, ha="right")
        _frame(axes, most)
        _bars(axes, spread.unlearned, most)
        if spread.retrained is not None:
            _outline(axes, spread.retrained, most)
        line = _x(WHOLE)
        axes.plot([line, line], [TOP - 6, FLOOR], color=LEAK, lw=1.2, dashes=(3, 2))
        return inline_svg(
            figure,
            f"distribution-{position}",
            f"Facts by how much more the unlearned model knows, {label(spread.view.row.label, 60)}",
            _description(spread),
        )


def _sound(counts: Sequence[int]) -> bool:
    return len(counts) == BINS and all(0 <= n <= MOST for n in counts) and sum(counts) > 0


def _bin(edge: float) -> int:
    return round((edge + 1) * BINS / 2)


def _x(d: float) -> float:
    return LEFT + (d + 1) / 2 * (RIGHT - LEFT)


def _y(facts: float, most: int) -> float:
    return FLOOR - math.log1p(facts) / math.log1p(most) * (FLOOR - TOP)


def _frame(axes: Axes, most: int) -> None:
    ticks = [10**power for power in range(16) if 10**power <= most]
    kept = ticks[:: 1 + len(ticks) // 5]
    segments(axes, [(LEFT, _y(n, most), RIGHT, _y(n, most)) for n in kept], LINE, 0.6)
    segments(axes, [(_x(0.0), TOP, _x(0.0), FLOOR)], LINE, 0.8)
    for facts in kept:
        y = _y(facts, most) + 3
        axes.text(LEFT - 3, y, f"{facts:,}", size=SMALL, color=SOFT, ha="right")
    for d in (-1.0, -0.5, 0.0, 0.5, 1.0):
        axes.text(_x(d), FLOOR + 11, plain(d), size=SMALL, color=SOFT, ha="center")
    axes.text(_x(-1.0), FLOOR + 21, "knows less", size=SMALL, color=SOFT, ha="left")
    axes.text(_x(1.0), FLOOR + 21, "knows more", size=SMALL, color=SOFT, ha="right")


def _bars(axes: Axes, counts: Sequence[int], most: int) -> None:
    """Draws the bars that are not empty as one element."""
    corners: list[tuple[float, float]] = []
    for index, facts in enumerate(counts):
        if facts:
            left, right = _x(2 * index / BINS - 1) + 0.4, _x(2 * (index + 1) / BINS - 1) - 0.4
            top = _y(facts, most)
            corners += [(left, FLOOR), (left, top), (right, top), (right, FLOOR), (left, FLOOR)]
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * (len(corners) // 5)
    axes.add_patch(PathPatch(Path(corners, codes), facecolor=UNLEARNED, lw=0, zorder=2.5))


def _outline(axes: Axes, counts: Sequence[int], most: int) -> None:
    xs = [_x(2 * edge / BINS - 1) for edge in range(BINS + 1)]
    heights = [_y(facts, most) for facts in counts]
    axes.plot(
        [xs[0], *(x for x in xs[1:-1] for _ in "ab"), xs[-1]],
        [y for y in heights for _ in "ab"],
        color=BASELINE,
        lw=1.4,
        zorder=3,
    )


def _description(spread: Spread) -> str:
    bands = zip(band_names(), spread.bands, strict=True)
    said = ", ".join(f"{name}: {count(facts)}" for name, facts in bands)
    chance = (
        "It is not known how many leak by chance."
        if spread.by_chance is None
        else f"By chance, on a retrained model against the others, up to {count(spread.by_chance)}."
    )
    return (
        f"{count(spread.facts)} facts by D, K of the unlearned model less the mean K of the "
        f"retrained ones: {said}. Leaked: {spread.view.leaked}. {chance}"
    )
