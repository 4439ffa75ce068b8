"""The figures of the page: inline SVG that matplotlib draws from numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auditor.certificate.schema import Certificate
from reports.matrix import AttackView
from reports.plots.knowledge import knowledge_plot
from reports.plots.layers import largest_flip, layer_strips
from reports.plots.residual import residual_plot

ROWS = 16
"""Attacks in one figure: as many as stay on one printed page."""


@dataclass(frozen=True)
class Plots:
    """All figures of a page; each is split where there are many attacks."""

    residual: tuple[Markup, ...]
    knowledge: tuple[Markup, ...]
    layers: Markup | None
    largest_flip: float | None


def plots(certificate: Certificate, rows: Sequence[AttackView]) -> Plots:
    """Returns the figures of a certificate."""
    policy = certificate.policy
    parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    before = next((row.unlearned for row in rows if row.reference), None)
    return Plots(
        residual=tuple(
            residual_plot(part, policy.delta, policy.alpha, position)
            for position, part in enumerate(parts, start=1)
        ),
        knowledge=tuple(
            knowledge_plot(part, before, position) for position, part in enumerate(parts, start=1)
        ),
        layers=layer_strips(rows),
        largest_flip=largest_flip(rows),
    )
