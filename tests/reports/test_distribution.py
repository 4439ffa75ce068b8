"""How D is spread over the facts: bars against counts, and which attacks are drawn."""

import pytest
from drawn_figure import NEAR, Figure
from hand_made_rows import row
from parsed_page import Page

from reports.html import render
from reports.matrix import attack_views
from reports.number_format import MINUS
from reports.plots.distribution import PANELS, distribution_plot, drawn, spreads


@pytest.fixture
def views(certificate):
    """Makes the rows of the page from one row of the matrix."""
    return lambda told: attack_views(certificate("FAIL", matrix=[told]))


def found_in(views, unlearned, retrained=None, **changes):
    told = row("quantization/bnb", "nf4", (0.5, 0.2, 0.9)) | changes
    told["readings"][0]["distribution"] = {"unlearned": unlearned, "retrained": retrained}
    return spreads(views(told))


def counts(**bins):
    return [bins.get(f"b{n}", 0) for n in range(40)]


def test_one_fact_of_five_thousand_is_seen_and_counted(views):
    [spread] = found_in(views, counts(b20=4999, b38=1))
    figure = Figure(distribution_plot(spread, 1))
    [bars] = figure.filled("unlearned")
    far = [p for p in bars.points if p[0] > figure.x_of("0.5")]
    height = max(y for _, y in far) - min(y for _, y in far)
    assert height >= 4, "points"
    assert figure.between(f"{MINUS}1", "1", 0.95) <= min(x for x, _ in far) + NEAR
    assert max(x for x, _ in far) <= figure.between(f"{MINUS}1", "1", 0.975) + NEAR
    assert figure.says("leaked: 139 of 388")


def test_bars_are_as_high_as_their_numbers(views):
    [spread] = found_in(views, counts(b3=1, b10=10, b20=100, b30=1000))
    figure = Figure(distribution_plot(spread, 1))
    [bars] = figure.filled("unlearned")
    for number, place in (("1", 3), ("10", 10), ("100", 20), ("1,000", 30)):
        middle = figure.between(f"{MINUS}1", "1", (place + 0.5) / 40)
        top = min(y for x, y in bars.points if abs(x - middle) < 3)
        label = next(y for said, x, y, _ in figure.texts if said == number and x < 40)
        assert top == pytest.approx(label - 3, abs=NEAR)


def test_leaks_are_those_that_decide(views):
    """22, where 25 lie right of half the scale; a retrained model shows up to 5."""
    told = row("quantization/bnb", "nf4", (0.5, 0.2, 0.7))
    reading = told["readings"][0]
    reading["figures"]["leak"]["leaked"] = 22
    reading["figures"]["leak_count"] = {
        "eligible": 388,
        "facts": list(range(22)),
        "limit": 38,
        "baseline": 5,
        "noise": 6,
        "allowed": 38,
        "log_p": 0.0,
        "countable": True,
    }
    reading["distribution"] = {"unlearned": counts(b20=375, b35=25), "retrained": None}
    [spread] = spreads(views(told))
    assert (spread.leaked, spread.by_chance) == (22, 5)
    assert Figure(distribution_plot(spread, 1)).says("leaked: 22 of 388")


def test_facts_are_counted_on_the_right_side_of_the_line(views):
    [spread] = found_in(views, counts(b29=7, b30=5, b39=2), counts(b30=3, b10=11))
    assert spread.facts == 14
    assert spread.bands == (0, 0, 0, 7, 7)
    figure = Figure(distribution_plot(spread, 1))
    [line] = [p for p in figure.lines("leak") if p.box[0] == p.box[1]]
    assert line.box[0] == pytest.approx(figure.x_of("0.5"), abs=NEAR)
    assert line.box[0] == pytest.approx(figure.between(f"{MINUS}1", "1", 0.75), abs=NEAR)


def test_without_a_second_retrained_model_there_is_no_outline(views):
    [alone] = found_in(views, counts(b20=10))
    [both] = found_in(views, counts(b20=10), counts(b19=10))
    assert Figure(distribution_plot(alone, 1)).lines("baseline") == []
    assert len(Figure(distribution_plot(both, 1)).lines("baseline")) == 1


@pytest.mark.parametrize("wrong", [[], [1] * 39, [0] * 40, [-1] + [1] * 39, [10**400] + [0] * 39])
def test_counts_that_are_none_are_not_drawn(views, wrong):
    assert found_in(views, wrong) == []


def test_those_that_matter_come_first_and_the_rest_is_told(certificate):
    rows = []
    for number in range(20):
        told = row("quantization/bnb", f"level {number}", (0.2, 0.2, 0.9))
        leaking = counts(b20=400 - number, b35=number)
        told["readings"][0]["distribution"] = {"unlearned": leaking, "retrained": None}
        told["readings"][0]["figures"]["leak"]["leaked"] = number
        rows.append(told)
    rows.append(row("a/advisory", "x", (0.2, 0.2, 0.9), role="advisory"))
    shown = certificate("FAIL", matrix=rows)
    found = spreads(attack_views(shown))
    assert [s.leaked for s in drawn(found)] == list(range(19, 19 - PANELS, -1))
    page = Page(render(shown))
    assert f"Drawn: {PANELS} of 21 attacks" in page.said
    assert sum("distribution" in s.get("aria-labelledby", "") for s in page.named("svg")) == 12
