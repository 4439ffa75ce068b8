from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from auditor.statistics import (
    LAMBDA_GRID,
    log_e_value,
    mean_lower,
    residual_lower,
    residual_upper,
)

quick = settings(max_examples=60, deadline=None, derandomize=True)
sizes = st.integers(1, 25)
contrasts = arrays(np.float64, sizes, elements=st.floats(-1, 1))


@st.composite
def differences(draw):
    """d and g from three arms with K in [0, 1], repeated so that bounds can bite."""
    n = draw(st.integers(1, 12))
    arm = arrays(np.float64, n, elements=st.floats(0, 1))
    unlearned, original, retrained = draw(arm), draw(arm), draw(arm)
    times = draw(st.sampled_from([1, 20, 80]))
    return np.tile(unlearned - retrained, times), np.tile(original - retrained, times)


def naive(z):
    return np.log(np.mean([np.prod([1 - lam * v for v in z]) for lam in LAMBDA_GRID]))


def test_the_grid_is_the_one_that_the_design_fixes():
    assert LAMBDA_GRID.tolist() == np.linspace(0.05, 0.98, 20).tolist()
    with pytest.raises(ValueError, match="read-only"):
        LAMBDA_GRID[0] = 0.5


def test_no_facts_are_no_evidence():
    assert log_e_value([]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("z", [[np.nan], [np.inf], [1.01], [-1.01], [[[0.1]]], 0.1])
def test_what_is_not_a_contrast_is_refused(z):
    with pytest.raises(ValueError):
        log_e_value(z)


@quick
@given(contrasts)
def test_the_e_value_is_the_formula(z):
    assert log_e_value(z) == pytest.approx(naive(z), abs=1e-9)


@quick
@given(contrasts, st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(z, random):
    shuffled = z.tolist()
    random.shuffle(shuffled)
    assert log_e_value(shuffled) == pytest.approx(log_e_value(z), abs=1e-9)


@quick
@given(contrasts, st.floats(0, 1), st.data())
def test_more_knowledge_never_helps_the_claim_that_there_is_less(z, step, data):
    where = data.draw(st.integers(0, z.size - 1))
    raised = z.copy()
    raised[where] = min(1.0, raised[where] + step)
    assert log_e_value(raised) <= log_e_value(z) + 1e-9


@quick
@given(contrasts)
def test_both_directions_are_never_shown_at_once(z):
    assert min(log_e_value(z), log_e_value(-z)) <= 1e-9


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize(
    ("low", "high", "share_high"),
    [(-1.0, 1.0, 0.5), (-0.1, 0.9, 0.1), (-0.05, 0.95, 0.05), (-0.9, 0.1, 0.9), (-0.2, 0.3, 0.5)],
)
def test_the_expectation_under_the_null_is_at_most_one(n, low, high, share_high):
    """Every outcome of n two-point facts with mean >= 0, weighted by its probability."""
    expectation = 0.0
    for outcome in product((False, True), repeat=n):
        chance = np.prod([share_high if up else 1 - share_high for up in outcome])
        expectation += chance * np.exp(log_e_value([high if up else low for up in outcome]))
    assert expectation <= 1 + 1e-9


def test_facts_may_differ_as_long_as_their_means_sum_to_zero():
    """Half the facts leak on average and half over-forget: still at most 1 in expectation."""
    expectation = 0.0
    for outcome in product((-1, 1), repeat=6):
        z = [0.4 * s + (0.2 if i < 3 else -0.2) for i, s in enumerate(outcome)]
        expectation += np.exp(log_e_value(z)) / 2**6
    assert expectation <= 1 + 1e-9


@quick
@given(differences(), st.sampled_from([0.01, 0.05, 0.2]))
@example((np.full(80, 0.3), np.full(80, 0.9)), 0.05)
def test_the_bounds_bracket_the_point_estimate(pair, alpha):
    d, g = pair
    assume(g.mean() > 1e-3)
    rho = d.mean() / g.mean()
    upper, lower = residual_upper(d, g, alpha), residual_lower(d, g, alpha)
    if upper is not None:
        assert rho <= upper + 1e-9
    if lower is not None:
        assert lower <= rho + 1e-9


@quick
@given(differences())
def test_asking_for_more_confidence_widens_the_bounds(pair):
    d, g = pair
    wide, narrow = residual_upper(d, g, 0.01), residual_upper(d, g, 0.1)
    if wide is not None:
        assert narrow is not None
        assert narrow <= wide + 2e-6
    assert mean_lower(g, 0.01) <= mean_lower(g, 0.1) + 2e-6


@quick
@given(differences())
def test_exchanging_original_and_retrained_mirrors_the_bounds(pair):
    d, g = pair
    upper, mirrored = residual_upper(d, g, 0.05), residual_lower(g - d, g, 0.05)
    assert (upper is None) == (mirrored is None)
    if upper is not None:
        assert mirrored == pytest.approx(1 - upper, abs=2e-6)


@quick
@given(differences())
def test_every_residual_above_the_upper_bound_is_excluded(pair):
    """Also where gaps of both signs make the e-value rise and fall with r."""
    d, g = pair
    upper = residual_upper(d, g, 0.05)
    for r in np.linspace(0, 1, 101):
        if upper is None:
            assert log_e_value(d - g) < np.log(20)
            break
        if r > upper:
            assert log_e_value(d - r * g) >= np.log(20) - 1e-9


def test_gaps_of_both_signs_do_not_lower_the_bound():
    """r = 0 and r = 0.1 are excluded, r = 1 is not: the first exclusion is no bound."""
    d = np.full(100, -0.1)
    g = np.tile([0.82, -0.8], 50)
    assert log_e_value(d) >= np.log(20)
    assert log_e_value(d - 0.1 * g) >= np.log(20)
    assert log_e_value(d - g) < np.log(20)
    assert residual_upper(d, g, 0.05) is None


def test_a_model_that_knows_everything_is_not_bounded_and_one_that_knows_less_is_at_zero():
    g = np.full(200, 0.8)
    assert residual_upper(g, g, 0.05) is None
    assert residual_lower(g, g, 0.05) == pytest.approx(1.0, abs=0.05)
    assert residual_upper(-0.1 * np.ones(200), g, 0.05) == 0.0
    assert residual_lower(-0.1 * np.ones(200), g, 0.05) is None
    assert residual_lower(np.full(200, 1.0), g, 0.05) == 1.0


def test_bounds_refuse_what_cannot_be_differences_of_knowledge():
    with pytest.raises(ValueError, match="one length"):
        residual_upper([0.1], [0.1, 0.2], 0.05)
    with pytest.raises(ValueError, match="leaves"):
        residual_upper([1.0, 1.0], [-1.0, -1.0], 0.05)
    with pytest.raises(ValueError, match="alpha"):
        residual_upper([0.1], [0.5], 0.0)


@quick
@given(contrasts)
def test_the_lower_bound_of_a_mean_lies_below_the_mean(x):
    bound = mean_lower(x, 0.05)
    assert -1 <= bound <= x.mean() + 1e-9
    if bound > -1:
        assert log_e_value((bound - x) / (1 + abs(bound))) >= np.log(20) - 1e-9


def test_the_lower_bound_of_a_mean_closes_in_and_covers():
    assert mean_lower(np.full(400, 0.8), 0.05) > 0.77
    assert mean_lower([0.8], 0.05) < 0.2
    rng = np.random.default_rng(0)
    misses = [mean_lower((rng.random(60) < 0.3).astype(float), 0.05) > 0.3 for _ in range(300)]
    assert np.mean(misses) <= 0.05
