"""Curves that attacks report beside K, as the page shows them.

They are grouped by name, then by attack.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from auditor.core.arms import Arm
from auditor.core.findings import Curve
from reports.matrix import AttackView, foremost
from reports.messages import CURVE_READINGS, axis_names, remark
from reports.phrases import Phrase

Points = tuple[tuple[float, float], ...]

ROC = "roc"
"""Name of the ROC curve: both of its axes are rates, and chance is the diagonal."""

POINTS = 200
"""Most points of a curve that are drawn, which is as many as an attack reports."""

LISTED = 12
"""Most points of a curve that its table lists."""

COLUMNS = 6
"""Most curves that stand side by side in a table on half a sheet of paper."""

LINES = 24
"""Most curves in one figure."""

PANELS = 12
"""Most figures of curves of one name."""

NAMES = 8
"""Most names of curves that are shown; the field has few."""

GREATEST = 1e12
"""Largest number that is drawn. Beyond it, and where a value is no number, nothing is drawn."""


@dataclass(frozen=True)
class Line:
    """One curve: of whom, and its points that are numbers."""

    of: str
    points: Points

    def thinned(self, limit: int) -> Points:
        """Returns at most `limit` evenly spaced points of the curve.

        Their order is kept, and so are the first and the last point.
        """
        if len(self.points) <= limit:
            return self.points
        step = (len(self.points) - 1) / (limit - 1)
        return tuple(self.points[round(index * step)] for index in range(limit))


@dataclass(frozen=True)
class Panel:
    """The curves of one name under one attack.

    Attributes:
        view: the attack.
        name: code of what the curves are.
        x: what is along.
        y: what is upwards.
        lines: the curves that are drawn, in the order of the models.
        left_out: how many more there are.
        remarks: what limits them, each once.
        points: most points that any of the curves has.
    """

    view: AttackView
    name: str
    x: str
    y: str
    lines: tuple[Line, ...]
    left_out: int
    remarks: tuple[Phrase, ...]
    points: int

    @property
    def drawn(self) -> int:
        """Most points of a curve that are drawn."""
        return min(self.points, POINTS)

    @property
    def listed(self) -> int:
        """Most points of a curve that the table lists."""
        return min(self.points, LISTED)

    @property
    def table(self) -> tuple[tuple[float, tuple[float, ...]], ...] | None:
        """Listed places along x with the value of each line.

        None where the lines differ in x, or are more than a page has columns for.
        """
        places, *others = [tuple(x for x, _ in line.thinned(LISTED)) for line in self.lines]
        if len(self.lines) > COLUMNS or any(other != places for other in others):
            return None
        values = [[y for _, y in line.thinned(LISTED)] for line in self.lines]
        return tuple(zip(places, zip(*values, strict=True), strict=True))


@dataclass(frozen=True)
class CurveGroup:
    """Curves of one name.

    Attributes:
        name: code of what they are.
        reading: how they are read; None for a name that is not known here.
        panels: those that are drawn, of the attacks that matter most.
        left_out: labels of the attacks whose curves are not drawn.
    """

    name: str
    reading: str | None
    panels: tuple[Panel, ...]
    left_out: tuple[str, ...]

    @property
    def holds_out(self) -> bool:
        """Whether the curve compares the forget set with the holdout set."""
        return self.name == ROC


def curve_names(rows: Sequence[AttackView]) -> list[str]:
    """Returns the names of all curves, in the certificate's order."""
    return list(dict.fromkeys(curve.name for view in rows for curve in view.row.curves))


def curve_groups(rows: Sequence[AttackView]) -> tuple[CurveGroup, ...]:
    """Returns the curves of the first `NAMES` names, grouped by name."""
    panels: dict[str, list[Panel]] = {}
    for name in curve_names(rows)[:NAMES]:
        for view in foremost(rows):
            told = [curve for curve in view.row.curves if curve.name == name]
            for axes in dict.fromkeys(axis_names(curve) for curve in told):
                panel = _panel(view, [c for c in told if axis_names(c) == axes])
                if panel is not None:
                    panels.setdefault(name, []).append(panel)
    return tuple(
        CurveGroup(
            name,
            CURVE_READINGS.get(name),
            tuple(found[:PANELS]),
            tuple(panel.view.row.label for panel in found[PANELS:]),
        )
        for name, found in panels.items()
    )


def _panel(view: AttackView, curves: Sequence[Curve]) -> Panel | None:
    ordered = sorted(curves, key=lambda curve: Arm(curve.of).place)
    lines = [Line(curve.of, _sound(curve.points)) for curve in ordered]
    lines = [line for line in lines if line.points]
    if view.row.status != "measured" or not lines:
        return None
    return Panel(
        view=view,
        name=curves[0].name,
        x=axis_names(curves[0])[0],
        y=axis_names(curves[0])[1],
        lines=tuple(lines[:LINES]),
        left_out=len(curves) - len(lines[:LINES]),
        remarks=tuple(dict.fromkeys(remark(c.remarks) for c in ordered if c.remarks)),
        points=max(len(line.points) for line in lines),
    )


def _sound(points: Points) -> Points:
    return tuple(
        (x, y) for x, y in points if all(math.isfinite(v) and abs(v) <= GREATEST for v in (x, y))
    )
