"""Leaderboard as one HTML file.

The only scripts are our own; the page needs no network, and all text in it is escaped.
"""

from auditor.comparison.forms import LEADERBOARDS, Form
from auditor.comparison.ranking import Leaderboard
from reports.page import environment, script, stylesheet


def render(leaderboard: Leaderboard) -> str:
    """Returns the page. Equal leaderboards give equal text, byte for byte."""
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(board=leaderboard, stylesheet=stylesheet(), script=script())
    )


LEADERBOARDS.register("html")(Form(render, ".html", "One page: all certificates, best first."))
