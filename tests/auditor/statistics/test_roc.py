"""AUC, DeLong's interval and thresholds against slow definitions and worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, mannwhitneyu

from auditor.statistics import (
    area_of_components,
    area_under_curve,
    clopper_pearson,
    nonmembers_needed,
    operating_point,
    placements,
)

quick = settings(max_examples=60, deadline=None, derandomize=True)
sample = st.lists(st.integers(-6, 6), min_size=2, max_size=15)


def slow_delong(members, others):
    """The definition, one comparison at a time."""

    def beats(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    v10 = [sum(beats(x, y) for y in others) / len(others) for x in members]
    v01 = [sum(beats(x, y) for x in members) / len(members) for y in others]
    area = sum(v10) / len(v10)
    s10 = sum((v - area) ** 2 for v in v10) / (len(v10) - 1)
    s01 = sum((v - area) ** 2 for v in v01) / (len(v01) - 1)
    return area, s10 / len(members) + s01 / len(others)


def test_an_area_worked_out_by_hand():
    """3 beats all of 0, 1, 2; 2 beats two and ties one; 1 beats one and ties one: 7 / 9."""
    assert placements([1, 2, 3], [2, 0, 1]).tolist() == pytest.approx([0.5, 5 / 6, 1])
    found = area_under_curve([1, 2, 3], [0, 2, 1])
    assert found.value == pytest.approx(7 / 9)
    # V10 = (1/2, 5/6, 1) and V01 = (1, 1/2, 5/6), each with a variance of 7/108, over 3
    half = 1.959963984540054 * math.sqrt(2 * 7 / 108 / 3)
    assert found.lower == pytest.approx(7 / 9 - half)
    assert found.upper == 1.0


@quick
@given(sample, sample)
def test_delong_equals_its_definition(members, others):
    area, variance = slow_delong(members, others)
    found = area_under_curve(members, others)
    assert found.value == pytest.approx(area)
    if variance < 1e-15:
        assert (found.lower, found.upper) == (None, None)
    else:
        half = 1.959963984540054 * math.sqrt(variance)
        assert found.lower == pytest.approx(max(0, area - half), abs=1e-12)
        assert found.upper == pytest.approx(min(1, area + half), abs=1e-12)


@quick
@given(sample, sample)
def test_the_area_is_mann_whitneys_u(members, others):
    u = mannwhitneyu(members, others, method="asymptotic").statistic
    assert area_under_curve(members, others).value == pytest.approx(u / len(members) / len(others))


@quick
@given(sample, sample)
def test_turning_the_scores_round_turns_the_area_round(members, others):
    first = area_under_curve(members, others)
    second = area_under_curve([-x for x in members], [-x for x in others])
    assert second.value == pytest.approx(1 - first.value)
    if first.lower is not None:
        assert second.lower == pytest.approx(1 - first.upper, abs=1e-12)


@quick
@given(sample, sample)
def test_a_monotone_change_of_the_scores_changes_nothing(members, others):
    changed = area_under_curve([math.exp(x) for x in members], [math.exp(x) for x in others])
    assert changed == area_under_curve(members, others)


@quick
@given(sample, sample)
def test_clusters_of_one_are_plain_delong(members, others):
    plain = area_under_curve(members, others)
    names = [f"m{i}" for i in range(len(members))]
    clustered = area_under_curve(members, others, names, [f"n{i}" for i in range(len(others))])
    assert clustered.value == plain.value
    assert clustered.lower == pytest.approx(plain.lower)


def test_copies_of_a_sample_add_nothing_once_they_are_clusters():
    """Every item four times: the interval of the clusters is that of the sample itself."""
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, 30), rng.normal(0, 1, 40)
    single = area_under_curve(members, others)
    names = np.repeat([str(i) for i in range(40)], 4).tolist()
    copied = area_under_curve(np.repeat(members, 4), np.repeat(others, 4), names[:120], names)
    naive = area_under_curve(np.repeat(members, 4), np.repeat(others, 4))
    assert copied.lower == pytest.approx(single.lower)
    assert naive.upper - naive.lower < 0.6 * (single.upper - single.lower)


def test_the_interval_covers_the_true_area():
    """Two normals a deviation apart: the area is Phi(1 / sqrt 2) = 0.7602."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        found = area_under_curve(rng.normal(1, 1, 60), rng.normal(0, 1, 60))
        covered += found.lower <= 0.7602499 <= found.upper
    assert 0.92 <= covered / 400 <= 0.98


def test_complete_separation_has_no_interval():
    found = area_under_curve([3, 4], [1, 2])
    assert (found.value, found.lower, found.upper) == (1.0, None, None)


def test_a_single_member_bounds_nothing():
    found = area_under_curve([1.5], [1, 2])
    assert (found.value, found.lower, found.upper) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("bad", [[], [np.nan], [np.inf], [[1.0]]])
def test_what_are_no_scores_is_refused(bad):
    with pytest.raises(ValueError):
        area_under_curve(bad, [1, 2])
    with pytest.raises(ValueError):
        area_under_curve([1, 2], bad)
    with pytest.raises(ValueError):
        area_of_components(bad, [0.5])


def test_clusters_must_match_their_scores():
    with pytest.raises(ValueError, match="cluster"):
        area_under_curve([1, 2], [1, 2], ["a"], ["b", "c"])


def test_the_published_sizes_of_a_zero_of_n():
    """No false alarm among 299 (2,995) shows 1 % (0.1 %) at 95 %, and one fewer does not."""
    for rate, needed in ((0.01, 299), (0.001, 2995)):
        assert nonmembers_needed(rate) == needed
        assert (1 - rate) ** needed <= 0.05 < (1 - rate) ** (needed - 1)
    with pytest.raises(ValueError):
        nonmembers_needed(0.0)


def test_clopper_pearson_against_the_binomial_tails():
    lower, upper = clopper_pearson(7, 50)
    assert binom.sf(6, 50, lower) == pytest.approx(0.025)
    assert binom.cdf(7, 50, upper) == pytest.approx(0.025)
    assert clopper_pearson(0, 5)[0] == 0.0
    assert clopper_pearson(5, 5)[1] == 1.0


def test_a_threshold_is_the_highest_of_299_and_lower_in_larger_samples():
    scores = np.arange(299.0)
    assert operating_point([0.0], scores[:-1], scores, 0.01) is None
    assert operating_point([0.0], scores, scores, 0.01).threshold == 298
    # 4 let through of 1,000: P[Bin(1000, .01) <= 4] = 0.029; 5 would be 0.066
    point = operating_point([990.0, 996.0, 1000.0], np.arange(1000.0), [995.0, 996.0, 5.0], 0.01)
    assert point.threshold == 995
    assert point.rate == pytest.approx(2 / 3)
    assert (point.false_positives, point.checked) == (1, 3)
    assert (point.lower, point.upper) == clopper_pearson(2, 3)


def test_a_threshold_keeps_to_its_rate_as_often_as_it_says():
    """Scores uniform in [0, 1]: the true false positive rate is 1 - threshold."""
    rng = np.random.default_rng(2)
    for size in (299, 700):
        broken = sum(
            1 - operating_point([0.5], rng.random(size), [], 0.01).threshold > 0.01
            for _ in range(1000)
        )
        assert broken / 1000 <= 0.07
