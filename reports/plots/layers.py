"""Where in the model the rounded weights of unlearned and original model differ: heat strips."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from markupsafe import Markup

from auditor.certificate.row import ExplanationPart
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
    canvas,
    inline_svg,
)
from reports.visible_text import label

TOP, ROW, BOTTOM = 6.0, 36.0, 20.0
LEFT, RIGHT = 12.0, WIDTH - 12.0
CELLS = 48
"""Cells of a strip: layers side by side share one where there are more."""


def layer_strips(rows: Sequence[AttackView]) -> Markup | None:
    """Returns one strip of layers per variant that has a code-flip share; None where none has."""
    found = _explained(rows)
    if not found:
        return None
    said = []
    largest = largest_flip(rows) or 1.0
    with canvas(TOP + ROW * len(found) + BOTTOM) as (figure, axes):
        for index, (name, explanation) in enumerate(found):
            top = TOP + ROW * index
            cells = _cells(explanation.layers)
            axes.text(LEFT, top + 11, label(name, 34), size=LABEL, color=INK)
            axes.text(
                RIGHT, top + 11, share(explanation.overall), size=LABEL, color=INK, ha="right"
            )
            step = (RIGHT - LEFT) / len(cells)
            for position, value in enumerate(cells):
                x = LEFT + step * position
                axes.fill_between(
                    [x, x + step],
                    top + 16,
                    top + 28,
                    color=HEAT,
                    alpha=_shade(value / largest),
                    lw=0,
                )
            axes.plot(
                [LEFT, RIGHT, RIGHT, LEFT, LEFT],
                [top + 16, top + 16, top + 28, top + 28, top + 16],
                color=LINE,
                lw=0.8,
            )
            said.append(
                f"{label(name, 60)}: {share(explanation.overall)} overall, from "
                f"{share(min(cells))} to {share(max(cells))} by layer."
            )
        floor = TOP + ROW * len(found) + 10
        axes.text(LEFT, floor, "first layer", size=SMALL, color=SOFT)
        axes.text(RIGHT, floor, "last layer", size=SMALL, color=SOFT, ha="right")
        return inline_svg(
            figure, "layers", "Code-flip share by layer, for each rounding", " ".join(said)
        )


def largest_flip(rows: Sequence[AttackView]) -> float | None:
    """Returns the largest share of a cell, which is drawn darkest."""
    found = [cell for _, explanation in _explained(rows) for cell in _cells(explanation.layers)]
    return max(found, default=None)


def _explained(rows: Sequence[AttackView]) -> list[tuple[str, ExplanationPart]]:
    return [
        (view.row.label, view.row.explanation)
        for view in rows
        if view.row.explanation is not None
        and view.row.explanation.measure == FLIPS
        and view.row.explanation.layers
    ]


def _cells(layers: Mapping[str, float]) -> list[float]:
    values = [layers[name] for name in sorted(layers, key=natural)]
    if len(values) <= CELLS:
        return values
    edges = [round(len(values) * cell / CELLS) for cell in range(CELLS + 1)]
    return [fmean(values[a:b]) for a, b in pairwise(edges)]


def _shade(part: float) -> float:
    """Opacity; the root lets small shares be told from none."""
    return round(math.sqrt(min(max(part, 0.0), 1.0)), 3)
