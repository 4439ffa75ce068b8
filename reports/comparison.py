"""Comparison of two certificates as one HTML file.

The page has no script and needs no network; all text in it is escaped.
"""

from auditor.comparison.forms import COMPARISONS, Form
from auditor.comparison.order import place
from auditor.comparison.schema import Comparison
from reports.page import environment, stylesheet
from reports.plots.change import change_plots

_ONE_MEASURE = {"forget set", "primary metric", "original model", "retrained models", "scope"}
"""Facts that must be equal in both audits before a line joins their residuals."""


def render(comparison: Comparison) -> str:
    """Returns the page. Equal comparisons give equal text, byte for byte."""
    differing = {each.about for each in (*comparison.obstacles, *comparison.differences)}
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            c=comparison,
            stylesheet=stylesheet(),
            headline=_headline(comparison),
            seal=comparison.b.verdict if comparison.verdicts_comparable else None,
            plots=change_plots(comparison.attacks, joined=not differing & _ONE_MEASURE),
        )
    )


def _headline(comparison: Comparison) -> str:
    """Returns the one line above a comparison.

    It judges only what can be compared.
    """
    if not comparison.comparable:
        return "Two audits that cannot be compared: neither is said to be better."
    if not comparison.verdicts_comparable:
        return "Verdicts of two rules: the figures can be compared, and the verdicts cannot."
    before, after = place(comparison.a.verdict), place(comparison.b.verdict)
    if after > before:
        return "The verdict of B is worse."
    if after < before:
        return "The verdict of B is better."
    return "The verdict is the same."


COMPARISONS.register("html")(Form(render, ".html", "One page for a reviewer: A beside B."))
