"""The page of a certificate with 40 variants on 5,000 facts."""

import re

import pytest
from drawn_figure import Figure
from large_certificate import ENTITIES, VARIANTS, WORST_FACTS, large_certificate
from parsed_page import Page

from reports.curves import POINTS
from reports.html import render

LIMIT = 6_000_000
"""Bytes that can be sent by mail and opened at once."""


@pytest.fixture(scope="module")
def large():
    return large_certificate()


@pytest.fixture(scope="module")
def text(large):
    return render(large)


@pytest.fixture(scope="module")
def figures(text):
    return [Figure(svg) for svg in re.findall(r'<svg viewBox[^>]*role="img".*?</svg>', text)]


def test_the_certificate_is_as_large_as_it_is_said_to_be(large):
    measured = [told for told in large.matrix if told.figures]
    assert len(large.matrix) == VARIANTS == 40
    assert {told.figures.facts for told in measured} == {5000}
    read = [reading for told in measured for reading in told.readings]
    assert {sum(reading.distribution.unlearned) for reading in read} == {5000}
    assert {len(told.jobs) * len(told.jobs["unlearned"]) for told in measured} == {15}
    assert len(large.worst_entities) == ENTITIES == 200
    assert len(large.worst_facts) == WORST_FACTS == 100
    assert max(len(told.explanation.layers) for told in measured if told.explanation) >= 22
    assert max(len(curve.points) for told in measured for curve in told.curves) == 200


def test_the_page_is_small_enough_for_mail(text):
    assert len(text.encode()) < LIMIT


def test_no_figure_is_heavy(figures):
    assert sum(1 for figure in figures for _ in figure.root.iter()) < 12_000
    for figure in figures:
        assert figure.height < 700, "fits on a printed page"
        assert sum(1 for _ in figure.root.iter()) < 900
        assert max(len(stroke) for path in figure.paths for stroke in path.parts) <= POINTS


def test_no_variant_is_lost(large, text, figures):
    page = Page(text)
    described = [figure.root.find("desc").text for figure in figures]
    for kind in ("matrix-", "residual-", "knowledge-"):
        told = " ".join(
            figure.root.find("desc").text
            for figure in figures
            if figure.root.get("aria-labelledby").startswith(kind)
        )
        for row in large.matrix:
            assert f"{row.label}: " in told
    assert described
    assert page.depth_errors == []
    bodies = re.findall(r'<tbody class="row (\w+)">', text)
    assert len(bodies) == VARIANTS


def test_the_one_fact_that_leaks_whole_is_among_the_first_figures(figures):
    spread = [f for f in figures if f.root.get("aria-labelledby").startswith("distribution-")]
    assert spread[0].says("leaked: 3,900 of 5,000")
    assert spread[1].says("leaked: 1 of 5,000"), "before those of a higher mean"
    assert len(spread) == 12


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_and_the_whole_can_be_scrolled(tab, saved, large, width):
    tab.view(width)
    tab.open(saved(large))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    rest = "document.documentElement.scrollHeight - innerHeight - scrollY"
    assert abs(tab.evaluate(rest)) <= 1
