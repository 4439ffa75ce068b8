"""A leaderboard as one HTML file: no script but ours, no network, everything escaped."""

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
