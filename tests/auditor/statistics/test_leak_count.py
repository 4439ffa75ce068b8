import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from auditor.statistics.arms import Arms
from auditor.statistics.leak_count import COUNT_SHARE, count_leaks, standing_out
from auditor.statistics.margins import Margins

NONE_MAY = Margins(leaked_facts=0)


def arms(leaked, n=120, seeds=1, noisy=()):
    """Arms with K_O .9 and K_R .1, of which U kept some facts whole; R 0 knows those in `noisy`."""
    retrained = np.full((seeds, n), 0.1)
    retrained[0, list(noisy)] = 0.9
    unlearned = np.where(np.arange(n) < leaked, 0.9, 0.1)
    return Arms(unlearned, np.full(n, 0.9), retrained)


def test_leaks_are_counted_by_fact_and_the_limit_follows_the_policy():
    count = count_leaks(arms(3), Margins())
    assert (count.leaked, count.facts, count.eligible, count.limit) == (3, (0, 1, 2), 120, 12)
    assert count.within
    assert count.log_p == 0.0
    strict = count_leaks(arms(3), NONE_MAY)
    assert (strict.limit, strict.within) == (0, False)
    assert not strict.shown_above(0.05)


@pytest.mark.parametrize(("seeds", "leaked"), [(1, 7), (2, 5), (3, 4)])
def test_without_noise_each_leak_is_one_in_s_plus_one(seeds, leaked):
    count = count_leaks(arms(leaked, seeds=seeds), NONE_MAY)
    assert math.exp(count.log_p) == pytest.approx((seeds + 1.0) ** -leaked)
    assert count.baseline == (None if seeds == 1 else 0)


def test_one_retrained_model_gives_the_sign_test():
    held = arms(9, noisy=range(50, 54))
    assert standing_out(held, NONE_MAY).sum() == 13
    assert math.exp(count_leaks(held, NONE_MAY).log_p) == pytest.approx(binom.sf(8, 13, 0.5))


def test_what_the_policy_allows_is_taken_out_before_the_test():
    count = count_leaks(arms(21), Margins())
    assert (count.limit, count.leaked) == (12, 21)
    assert math.exp(count.log_p) == pytest.approx(0.5**9)
    assert count.shown_above(COUNT_SHARE * 0.05 / 4)


def test_a_pass_may_leak_as_much_as_a_retrained_model_against_the_others():
    held = arms(2, seeds=3, noisy=(60, 61))
    count = count_leaks(held, NONE_MAY)
    assert (count.baseline, count.allowed, count.within) == (2, 2, True)
    assert not count_leaks(arms(3, seeds=3, noisy=(60, 61)), NONE_MAY).within


def test_noise_under_any_attack_is_noise_but_not_beyond_the_share():
    """A fourth leak is noise where a retrained model shows four under another attack."""
    held = arms(4, seeds=3, noisy=(60, 61))
    assert not count_leaks(held, NONE_MAY).within
    with_noise = count_leaks(held, NONE_MAY, noise=4)
    assert (with_noise.baseline, with_noise.noise, with_noise.allowed) == (2, 4, 4)
    assert with_noise.within
    assert count_leaks(held, NONE_MAY, noise=90).allowed == 12, "a tenth of 120"
    assert not count_leaks(arms(13, seeds=3), NONE_MAY, noise=90).within


def test_noise_under_another_attack_hides_no_leaks_that_are_shown():
    held = arms(9, seeds=2)
    assert count_leaks(held, NONE_MAY, noise=12).within
    assert count_leaks(held, NONE_MAY, noise=12).shown_above(COUNT_SHARE * 0.05 / 8)


def test_a_handful_of_eligible_facts_is_no_census():
    held = arms(0)
    original = np.where(np.arange(120) < 28, 0.9, 0.2)
    few = count_leaks(replace(held, original=original), NONE_MAY)
    assert (few.eligible, few.countable, few.within) == (28, False, False)


def _counted(rng, seeds, leak_chance, margins, n=100):
    """Whether an honest model is said to leak; K is 0 or 1, as that of a guessed answer."""
    retrained = (rng.random((seeds, n)) < leak_chance).astype(float)
    unlearned = (rng.random(n) < leak_chance).astype(float)
    held = Arms(unlearned, np.ones(n), retrained)
    return count_leaks(held, margins).shown_above(0.05)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("guessed", ["0.02", "0.3"])
def test_honest_models_with_a_noisy_metric_are_rarely_said_to_leak(seeds, guessed):
    rng = np.random.default_rng([seeds, round(float(guessed) * 100)])
    hits = sum(_counted(rng, seeds, float(guessed), NONE_MAY) for _ in range(400))
    assert hits <= binom.ppf(0.999, 400, 0.05)


def test_nor_where_the_facts_differ_in_how_easily_they_are_guessed():
    rng = np.random.default_rng(7)
    chances = rng.beta(0.3, 0.7, 100)
    hits = sum(_counted(rng, 2, chances, NONE_MAY) for _ in range(400))
    assert hits <= binom.ppf(0.999, 400, 0.05)


def test_whole_facts_among_many_are_found_where_a_bound_needed_22():
    found = count_leaks(arms(9), NONE_MAY)
    assert found.shown_above(COUNT_SHARE * 0.05 / 5)
    assert not count_leaks(arms(8), NONE_MAY).shown_above(COUNT_SHARE * 0.05 / 5)
