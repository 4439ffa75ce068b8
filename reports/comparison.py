"""Comparison of two certificates as one HTML file.

The page has no script and needs no network; all text in it is escaped.
"""

from auditor.comparison.forms import COMPARISONS, Form
from auditor.comparison.order import place
from auditor.comparison.schema import Comparison
from reports.page import environment, stylesheet
from reports.plots.change import change_plots

_ONE_MEASURE = {"facts", "primary metric", "original model", "retrained models", "scope"}
"""Facts that must be equal in both audits before a line joins their residuals."""


def render(comparison: Comparison) -> str:
    """Returns the page. Equal comparisons give equal text, byte for byte."""
    differing = {obstacle.about for obstacle in comparison.obstacles}
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            c=comparison,
            stylesheet=stylesheet(),
            headline=_headline(comparison),
            plots=change_plots(comparison.attacks, joined=not differing & _ONE_MEASURE),
        )
    )


def _headline(comparison: Comparison) -> str:
    before, after = place(comparison.a.verdict), place(comparison.b.verdict)
    if after > before:
        return "The verdict of B is worse."
    if after < before:
        return "The verdict of B is better."
    return "The verdict is the same."


COMPARISONS.register("html")(Form(render, ".html", "One page for a reviewer: A beside B."))
