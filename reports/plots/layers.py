"""Heat strips of code flips between unlearned and original model.

They show where in the model the rounded weights differ.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from statistics import fmean

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from auditor.core.findings import Explanation
from auditor.core.text_safety import label
from reports.arms import natural
from reports.matrix import FLIPS, AttackView
from reports.number_format import share
from reports.plots.drawing import (
    HEAT,
    INK,
    LABEL,
    LINE,
    SMALL,
    SOFT,
    WIDTH,
    boxes,
    canvas,
    inline_svg,
)

TOP, ROW, BOTTOM = 6.0, 36.0, 20.0
LEFT, RIGHT = 12.0, WIDTH - 12.0
CELLS = 48
"""Most cells of a strip. Where there are more layers, neighbours share a cell."""

SHADES = 24
"""Shades of a strip that are told apart; cells of one shade are one element of the page."""


def layer_strips(rows: Sequence[AttackView], largest: float, part: int) -> Markup:
    """Returns one strip of layers per attack.

    Args:
        rows: from `explained`.
        largest: from `largest_flip`, so that strips of all figures compare.
        part: number of this figure, where there are many attacks.
    """
    floor = TOP + ROW * len(rows)
    said = []
    with canvas(floor + BOTTOM) as (figure, axes):
        for index, view in enumerate(rows):
            explanation = _explanation(view)
            if explanation is None:
                raise ValueError(f"{view.row.label} has no code-flip share to draw")
            cells = _cells(explanation.layers)
            _strip(axes, view, explanation.overall, TOP + ROW * index)
            _shaded(axes, cells, largest, TOP + ROW * index)
            said.append(
                f"{label(view.row.label, 60)}: {share(explanation.overall)} overall, from "
                f"{share(min(cells))} to {share(max(cells))} by layer."
            )
        axes.text(LEFT, floor + 10, "first layer", size=SMALL, color=SOFT)
        axes.text(RIGHT, floor + 10, "last layer", size=SMALL, color=SOFT, ha="right")
        return inline_svg(
            figure,
            f"layers-{part}",
            "Code-flip share by layer, for each rounding",
            " ".join(said),
        )


def explained(rows: Sequence[AttackView]) -> list[AttackView]:
    """Returns the attacks that have a code-flip share by layer."""
    return [view for view in rows if _explanation(view) is not None]


def largest_flip(rows: Sequence[AttackView]) -> float | None:
    """Returns the largest share of a cell.

    It is drawn in the strongest colour.
    """
    found = [_explanation(view) for view in rows]
    return max((cell for part in found if part for cell in _cells(part.layers)), default=None)


def _explanation(view: AttackView) -> Explanation | None:
    explanation = view.row.explanation
    if explanation is None or explanation.measure != FLIPS:
        return None
    known = all(math.isfinite(value) for value in explanation.layers.values())
    return explanation if explanation.layers and known else None


def _strip(axes: Axes, view: AttackView, overall: float, top: float) -> None:
    axes.text(LEFT, top + 11, view.name(34), size=LABEL, color=INK)
    axes.text(RIGHT, top + 11, share(overall), size=LABEL, color=INK, ha="right")
    axes.add_patch(
        Rectangle((LEFT, top + 16), RIGHT - LEFT, 12, facecolor="none", edgecolor=LINE, lw=0.8)
    )


def _shaded(axes: Axes, cells: Sequence[float], largest: float, top: float) -> None:
    step = (RIGHT - LEFT) / len(cells)
    shades = [_shade(value / largest if largest > 0 else 0.0) for value in cells]
    order = sorted(range(len(cells)), key=lambda position: (shades[position], position))
    for shade, positions in groupby(order, key=lambda position: shades[position]):
        edges = [LEFT + step * position for position in positions]
        boxes(axes, [(x, x + step, top + 16, top + 28) for x in edges], HEAT, shade)


def _cells(layers: Mapping[str, float]) -> list[float]:
    values = [layers[name] for name in sorted(layers, key=natural)]
    if len(values) <= CELLS:
        return values
    edges = [round(len(values) * cell / CELLS) for cell in range(CELLS + 1)]
    return [fmean(values[a:b]) for a, b in pairwise(edges)]


def _shade(part: float) -> float:
    """Opacity; the root lets small shares be told from none."""
    strength = math.sqrt(min(max(part, 0.0), 1.0))
    return math.ceil(SHADES * strength) / SHADES
