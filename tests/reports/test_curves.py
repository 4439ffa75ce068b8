"""The curves that attacks report: which are shown, and that they lie where their points are."""

import math
from itertools import pairwise

import pytest
from drawn_figure import Figure
from hand_made_certificates import honest_certificate, told
from hand_made_rows import learning_curves, roc_curves, row
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import parsed
from parsed_page import Page

from auditor.core.messages import written
from reports.curves import LINES, LISTED, NAMES, PANELS, POINTS, Line, curve_groups
from reports.html import render
from reports.matrix import attack_views
from reports.plots.curves import curve_plot

NEAR = 0.02
KNOWN = (0.5, 0.2, 0.9)


def curve(points, of="unlearned", name="loss", x="steps", y="nats", remark=None):
    said = [written(remark).model_dump()] if remark else []
    return {"name": name, "of": of, "x": x, "y": y, "points": points, "remarks": said}


@pytest.fixture
def groups(certificate):
    """Makes the groups from one list of curves for each attack."""

    def make(*curves, **changes):
        rows = [
            row("some/attack", f"level {n}", KNOWN, curves=tuple(told)) | changes
            for n, told in enumerate(curves)
        ]
        return curve_groups(attack_views(certificate("FAIL", matrix=rows)))

    return make


def drawn(groups):
    return Figure(curve_plot(groups[0].panels[0], 1))


def path(figure, color):
    """The longest line of a colour: the curve itself, not its sample in the key."""
    return max((p for p in figure.lines(color)), key=lambda p: len(p.points)).points


def test_points_lie_at_their_numbers(groups):
    points = [(0, 0.2), (10, 0.4), (20, 0.6), (40, 1.0)]
    figure = drawn(groups([curve(points)]))
    for (x, y), (px, py) in zip(points, path(figure, "unlearned"), strict=True):
        along = figure.x_of("0") + x / 40 * (figure.x_of("40") - figure.x_of("0"))
        assert px == pytest.approx(along, abs=NEAR)
        assert py + 3 == pytest.approx(
            figure.y_of("0.2") + (y - 0.2) / 0.8 * (figure.y_of("1") - figure.y_of("0.2")), abs=NEAR
        )


def test_doubling_steps_do_not_crowd(groups):
    steps = (0, 1, 2, 4, 8, 16, 32, 64)
    figure = drawn(groups([curve([(s, 0.5) for s in steps])]))
    places = [x for x, _ in path(figure, "unlearned")]
    gaps = [b - a for a, b in pairwise(places)]
    assert min(gaps) > 15
    assert places[-1] == pytest.approx(figure.x_of("64"), abs=NEAR)
    assert places[3] == pytest.approx(figure.x_of("4"), abs=NEAR)


def test_every_model_has_its_line_and_retrained_ones_differ_in_dashes(groups):
    figure = drawn(groups(learning_curves(0.6, 0.4)))
    key = 1
    assert len(figure.lines("unlearned")) == 1 + key
    assert len(figure.lines("original")) == 1 + key
    retrained = figure.lines("baseline")
    assert len(retrained) == 3 + key
    dashes = {p.style.partition("stroke-dasharray")[2] for p in retrained if len(p.points) > 2}
    assert len(dashes) == 3
    assert figure.says("optimiser steps")
    assert figure.says("mean K of the forget set (rouge-l-recall)")


def test_an_roc_is_square_and_has_the_diagonal_of_chance(groups):
    figure = drawn(groups(roc_curves({"unlearned": 0.7, "original": 0.2})))
    slanted = [
        part
        for p in figure.lines("soft")
        for part in p.segments
        if part[0][0] != part[1][0] and part[0][1] != part[1][1]
    ]
    [((x0, y0), (x1, y1))] = slanted
    line = path(figure, "unlearned")
    assert (x0, y0) == pytest.approx(line[0], abs=NEAR)
    assert (x1, y1) == pytest.approx(line[-1], abs=NEAR)
    assert x1 - x0 == pytest.approx(y0 - y1, abs=NEAR)
    assert figure.says("chance")
    assert not drawn(groups([curve([(0, 0), (1, 1)])])).says("chance")


def test_the_caption_of_an_roc_says_what_it_rests_on(certificate):
    said = parsed("FAIL").said
    assert "Facts of the holdout set: 200." in said
    assert "the smallest false positive rate above 0 that these can show is 1/200" in said
    sets = certificate("FAIL").scope.model_dump()
    del sets["sets"]["holdout"]
    assert (
        "Facts of the holdout set: not measured"
        in Page(render(certificate("FAIL", scope=sets))).said
    )


def test_curves_of_any_name_are_drawn_and_named(certificate):
    rows = [row("x/y", "z", KNOWN, curves=(curve([(1, 2), (3, 5)], name="gradient norm"),))]
    said = Page(render(certificate("FAIL", matrix=rows))).said
    assert "gradient norm" in said
    assert "5.000" in said


@given(st.integers(2, 1000), st.integers(2, 300))
@settings(max_examples=60, deadline=None)
def test_thinning_keeps_the_order_and_the_ends(many, limit):
    line = Line("unlearned", tuple((float(x), 0.0) for x in range(many)))
    kept = line.thinned(limit)
    assert len(kept) == min(many, limit)
    assert kept[0] == line.points[0]
    assert kept[-1] == line.points[-1]
    assert list(kept) == sorted(set(kept))


def test_no_curve_has_more_points_than_can_be_seen(groups):
    [group] = groups([curve([(n, math.sin(n)) for n in range(5000)])])
    [panel] = group.panels
    figure = Figure(curve_plot(panel, 1))
    assert max(len(p.points) for p in figure.paths) == POINTS
    assert len(figure.marks) < 20
    assert (panel.points, panel.drawn, panel.listed) == (5000, POINTS, LISTED)
    assert len(panel.table) == LISTED


def test_no_figure_has_more_lines_and_no_name_more_figures_than_are_read(groups, certificate):
    crowd = [curve([(0, 1), (1, 2)], of=f"retrained-{n}") for n in range(LINES + 5)]
    [group] = groups(*[crowd] * (PANELS + 3))
    assert len(group.panels) == PANELS
    assert len(group.left_out) == 3
    assert {len(panel.lines) for panel in group.panels} == {LINES}
    assert group.panels[0].table is None, "one line for each, for no page has so many columns"
    assert {panel.left_out for panel in group.panels} == {5}
    names = [curve([(0, 1), (1, 2)], name=f"name {n}") for n in range(NAMES + 4)]
    told = [row("a/b", "c", KNOWN, curves=tuple(names))]
    said = Page(render(certificate("FAIL", matrix=told))).said
    assert "Not shown: curves of 4 more names." in said


def test_the_curves_of_a_leak_are_drawn_however_late_it_comes(certificate):
    told = (curve([(0, 1), (1, 2)]),)
    rows = [row("a/b", f"level {n}", (0.2, 0.2, 0.9), curves=told) for n in range(PANELS + 3)]
    rows.append(row("a/b", "leaking", (0.9, 0.2, 0.9), curves=told))
    [group] = curve_groups(attack_views(certificate("FAIL", matrix=rows)))
    assert group.panels[0].view.row.variant == "leaking"


@pytest.mark.parametrize(
    "points", [[], [(0.0, math.nan)], [(math.inf, 1.0)], [(1e300, 0.0), (-1e300, 1.0)]]
)
def test_a_curve_without_numbers_is_not_drawn_and_is_counted(groups, points):
    assert groups([curve(points)]) == ()
    [group] = groups([curve(points), curve([(0, 1), (1, 2)], of="original")])
    assert [line.of for line in group.panels[0].lines] == ["original"]
    assert group.panels[0].left_out == 1


def test_an_attack_that_failed_has_no_curve(groups):
    assert groups([curve([(0, 1), (1, 2)])], status="failed", reason=told("lost")) == ()


@given(
    st.lists(
        st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)), min_size=1, max_size=20
    ).map(sorted)
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_points_all_lie_inside(points):
    rows = [row("a/b", "c", KNOWN, curves=(curve(points),))]
    [group] = curve_groups(attack_views(honest_certificate("FAIL", matrix=rows)))
    figure = Figure(curve_plot(group.panels[0], 1))
    for shape in figure.paths + figure.marks:
        for x, y in shape.points:
            assert -0.5 <= x <= figure.width + 0.5
            assert -0.5 <= y <= figure.height + 0.5
