"""ROC curves against counting, their areas, and what is drawn of them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.membership.roc_curves import (
    mean_roc_curve,
    roc_corners,
    roc_curve,
    thinned_roc_curve,
)
from auditor.statistics import area_under_curve

quick = settings(max_examples=60, deadline=None, derandomize=True)
scores = st.lists(st.integers(-6, 6) | st.floats(-3, 3), min_size=1, max_size=40)


def trapezoids(curve):
    return np.trapezoid(curve[:, 1], curve[:, 0])


def is_a_roc_curve(curve):
    """From (0, 0) to (1, 1) and never back."""
    return (
        curve[0].tolist() == [0, 0]
        and curve[-1].tolist() == [1, 1]
        and (np.diff(curve, axis=0) >= 0).all()
    )


@quick
@given(scores, scores)
def test_a_roc_curve_counts_at_every_threshold(members, nonmembers):
    expected = [[0.0, 0.0]]
    for threshold in sorted({*members, *nonmembers}, reverse=True):
        counts = [sum(s >= threshold for s in side) for side in (nonmembers, members)]
        expected.append([counts[0] / len(nonmembers), counts[1] / len(members)])
    np.testing.assert_allclose(roc_curve(members, nonmembers), expected, rtol=1e-15)


def test_a_roc_curve_worked_out_by_hand():
    """3 is a member's, 2 is both's, 1 a member's, 0 a non-member's."""
    expected = [[0, 0], [0, 1 / 3], [0.5, 2 / 3], [0.5, 1], [1, 1]]
    assert roc_curve([1, 2, 3], [0, 2]).tolist() == expected


@quick
@given(scores, scores)
def test_the_trapezoids_below_a_roc_curve_are_the_area(members, nonmembers):
    whole, area = roc_curve(members, nonmembers), area_under_curve(members, nonmembers).value
    assert trapezoids(whole) == pytest.approx(area, abs=1e-12)
    corners = roc_corners(whole)
    np.testing.assert_array_equal(thinned_roc_curve(whole), corners)  # at most 81: all are kept
    assert trapezoids(corners) == pytest.approx(area, abs=1e-12)
    assert is_a_roc_curve(corners)
    assert {tuple(point) for point in corners} <= {tuple(point) for point in whole}


@quick
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.data())
def test_the_area_below_the_mean_curve_is_the_mean_area(members, nonmembers, count, data):
    """Also of curves whose numbers of non-members differ."""

    def drawn(size):
        return data.draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size))

    pairs = [(drawn(members), drawn(nonmembers + i)) for i in range(count)]
    mean = mean_roc_curve([roc_curve(*pair) for pair in pairs])
    areas = [area_under_curve(*pair).value for pair in pairs]
    assert trapezoids(mean) == pytest.approx(np.mean(areas), abs=1e-12)
    assert is_a_roc_curve(mean)
    assert is_a_roc_curve(thinned_roc_curve(mean))


def test_a_mean_curve_keeps_the_vertical_pieces():
    """One score never fails and one always does: their mean is half of the members at any rate."""
    mean = mean_roc_curve([roc_curve([2], [1]), roc_curve([1], [2])])
    assert thinned_roc_curve(mean).tolist() == [[0, 0], [0, 0.5], [1, 0.5], [1, 1]]


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("size", [200, 1000, 20000])
def test_a_thinned_curve_is_close_and_whole_where_false_alarms_are_few(size, shift):
    rng = np.random.default_rng(size)
    members, nonmembers = rng.normal(shift, 1, size), rng.normal(0, 1, size)
    whole = roc_curve(members, nonmembers)
    thin = thinned_roc_curve(whole)
    assert len(thin) <= 101
    assert is_a_roc_curve(thin)
    assert {tuple(point) for point in thin} <= {tuple(point) for point in whole}
    spanned = np.diff(thin, axis=0).prod(axis=1).sum()
    assert abs(trapezoids(thin) - trapezoids(whole)) <= min(spanned / 2 + 1e-12, 2e-3)
    np.testing.assert_array_equal(thin[:33], roc_corners(whole)[:33])


@quick
@given(st.integers(10, 101), st.integers(0, 1000))
def test_no_curve_has_more_points_than_were_asked_for(most, seed):
    rng = np.random.default_rng(seed)
    whole = roc_curve(rng.normal(1, 1, 150), np.round(rng.normal(0, 1, 150), 1))
    thin = thinned_roc_curve(whole, most)
    assert len(thin) <= most
    assert is_a_roc_curve(thin)


def test_what_is_no_curve_is_refused():
    with pytest.raises(ValueError, match="members and non-members"):
        roc_curve([1.0], [])
    with pytest.raises(ValueError, match="NaN"):
        roc_curve([math.nan], [1.0])
    with pytest.raises(ValueError, match="9 points"):
        thinned_roc_curve(roc_curve([1.0], [0.0]), 9)
