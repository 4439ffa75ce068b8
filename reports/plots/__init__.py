"""The figures of the page: inline SVG that matplotlib draws from numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from auditor.certificate.schema import Certificate
from reports.curves import NAMES, CurveGroup, Panel, curve_groups, curve_names
from reports.matrix import AttackView
from reports.plots.attack_matrix import attack_matrix
from reports.plots.curves import curve_plot
from reports.plots.distribution import (
    WHOLE,
    Spread,
    band_names,
    distribution_plot,
    drawn,
    spreads,
)
from reports.plots.knowledge import knowledge_plot
from reports.plots.layers import explained, largest_flip, layer_strips
from reports.plots.residual import residual_plot

ROWS = 12
"""Most attacks in one figure, which is as many as stay on one printed page."""


@dataclass(frozen=True)
class Plots:
    """Figures of a page.

    A figure is split where there are many attacks.

    Attributes:
        front: K of the models under the attacks that matter most.
        matrix: heat maps of all attacks.
        residual: forest plots of residual knowledge.
        knowledge: K of the models side by side.
        layers: code-flip share by layer.
        largest_flip: the share that is drawn in the strongest colour.
        spreads: distribution of D for every attack where it is known.
        distributions: histograms for the attacks that matter most.
        curves: the curves by name, each panel with its figure.
        more_curves: names of curves that are not shown.
    """

    front: Markup | None
    matrix: tuple[Markup, ...]
    residual: tuple[Markup, ...]
    knowledge: tuple[Markup, ...]
    layers: tuple[Markup, ...]
    largest_flip: float | None
    spreads: tuple[Spread, ...]
    distributions: tuple[Markup, ...]
    curves: tuple[tuple[CurveGroup, tuple[tuple[Panel, Markup], ...]], ...]
    more_curves: int
    whole: float = WHOLE
    """D from which a fact counts as told nearly whole."""
    bands: tuple[str, ...] = band_names()
    """Column names of the table of D."""


def plots(
    certificate: Certificate, rows: Sequence[AttackView], shown: Sequence[AttackView] = ()
) -> Plots:
    """Returns the figures of a certificate.

    Args:
        certificate: what they are of.
        rows: its attacks, in the order of the page.
        shown: those of the first page.
    """
    policy = certificate.policy
    before = next((row.unlearned for row in (*rows, *shown) if row.reference), None)
    largest = largest_flip(rows)
    found = spreads(rows)
    parts = list(enumerate(_parts(rows), start=1))
    return Plots(
        front=knowledge_plot(shown, before, 0, plainly=True) if shown else None,
        matrix=tuple(attack_matrix(part, position) for position, part in parts),
        residual=tuple(
            residual_plot(part, policy.delta, policy.alpha, position) for position, part in parts
        ),
        knowledge=tuple(knowledge_plot(part, before, position) for position, part in parts),
        layers=tuple(
            layer_strips(part, largest or 0.0, position)
            for position, part in enumerate(_parts(explained(rows)), start=1)
        ),
        largest_flip=largest,
        spreads=tuple(found),
        distributions=tuple(
            distribution_plot(spread, position)
            for position, spread in enumerate(drawn(found), start=1)
        ),
        curves=_curves(rows),
        more_curves=max(0, len(curve_names(rows)) - NAMES),
    )


def _curves(
    rows: Sequence[AttackView],
) -> tuple[tuple[CurveGroup, tuple[tuple[Panel, Markup], ...]], ...]:
    position = 0
    found = []
    for group in curve_groups(rows):
        panels = []
        for panel in group.panels:
            position += 1
            panels.append((panel, curve_plot(panel, position)))
        found.append((group, tuple(panels)))
    return tuple(found)


def _parts(rows: Sequence[AttackView]) -> list[Sequence[AttackView]]:
    """Returns the rows split into figures of nearly equal length.

    So no figure is left with a single row.
    """
    figures = -(-len(rows) // ROWS)
    edges = [round(len(rows) * edge / figures) for edge in range(figures + 1)] if figures else []
    return [rows[start:end] for start, end in pairwise(edges)]
