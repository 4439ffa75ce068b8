"""The interval of a mean difference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from auditor.comparison.interval import mean_interval
from auditor.statistics import LAMBDA_GRID

DIFFERENCES = arrays(float, st.integers(1, 60), elements=st.floats(-1, 1, width=32))


@settings(deadline=None)
@given(DIFFERENCES, st.sampled_from([0.01, 0.05, 0.2]))
def test_it_holds_the_sample_mean_and_swapping_mirrors_it(values, alpha):
    lower, upper = mean_interval(values, 1.0, alpha)
    assert -1 <= lower <= values.mean() <= upper <= 1
    assert mean_interval(-values, 1.0, alpha) == pytest.approx((-upper, -lower), abs=1e-9)


@settings(deadline=None)
@given(DIFFERENCES)
def test_a_wider_reach_is_the_same_bet_on_another_scale(values):
    doubled = mean_interval(2 * values, 2.0, 0.05)
    assert doubled == pytest.approx(tuple(2 * np.array(mean_interval(values, 1.0, 0.05))))


@pytest.mark.parametrize("facts", [30, 60, 1000])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_no_change_at_all_is_an_interval_around_nothing(facts, alpha):
    lower, upper = mean_interval(np.zeros(facts), 1.0, alpha)
    assert lower == -upper
    # -m is the bound where each fact multiplies the stake by 1 + lambda m / (1 + m), and the mean
    # over the stakes is 2 / alpha: half of alpha for either side
    capital = np.mean((1 + LAMBDA_GRID * upper / (1 + upper)) ** facts)
    assert capital == pytest.approx(2 / alpha, rel=1e-3)


def test_three_facts_prove_little():
    assert mean_interval(np.zeros(3), 1.0, 0.05) == (-1.0, 1.0)


def test_it_misses_the_truth_no_more_often_than_it_says():
    rng = np.random.default_rng(1)
    truth, missed, runs = 0.03, 0, 400
    for _ in range(runs):
        sparse = np.where(rng.random(40) < truth, 1.0, 0.0)  # a few facts change whole
        lower, upper = mean_interval(sparse, 1.0, 0.2)
        missed += not lower <= truth <= upper
    assert missed / runs <= 0.2


def test_a_difference_beyond_its_reach_is_refused():
    with pytest.raises(ValueError, match="must lie"):
        mean_interval([0.2, 1.5], 1.0, 0.05)
    with pytest.raises(ValueError, match="NaN"):
        mean_interval([0.2, float("nan")], 1.0, 0.05)
