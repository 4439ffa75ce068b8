import numpy as np
import pytest
from scipy.stats import binomtest

from auditor.statistics import clopper_pearson_upper, leak_rate

GAP = np.full(100, 0.8)


@pytest.mark.parametrize(("count", "n"), [(0, 29), (0, 28), (3, 100), (5, 5), (300, 300)])
def test_the_bound_is_the_one_sided_clopper_pearson_bound_of_scipy(count, n):
    exact = binomtest(count, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert clopper_pearson_upper(count, n, 0.05) == pytest.approx(exact, abs=1e-12)


def test_without_leaks_29_facts_are_just_enough():
    assert clopper_pearson_upper(0, 29, 0.05) <= 0.10 < clopper_pearson_upper(0, 28, 0.05)


def test_leaks_are_counted_among_facts_with_a_gap():
    d, g = np.zeros(100), GAP.copy()
    d[:7] = 0.41
    d[7:9] = 0.40  # exactly half the gap is no leak
    g[50:] = 0.19
    d[50:] = 0.19
    leak = leak_rate(d, g, alpha=0.05, gap_floor=0.2)
    assert (leak.leaked, leak.eligible, leak.rate) == (7, 50, 0.14)
    assert leak.upper == pytest.approx(clopper_pearson_upper(7, 50, 0.05))
    assert not leak.within(0.10)


def test_without_eligible_facts_nothing_is_measured_and_nothing_passes():
    leak = leak_rate(np.zeros(50), np.full(50, 0.1), alpha=0.05, gap_floor=0.2)
    assert (leak.eligible, leak.rate, leak.upper) == (0, None, 1.0)
    assert not leak.within(0.999)


def test_leaks_do_not_cancel_against_over_forgotten_facts():
    d = np.where(np.arange(100) < 15, 0.8, -0.8 * 15 / 85)
    assert d.mean() == pytest.approx(0.0)
    assert not leak_rate(d, GAP, alpha=0.05, gap_floor=0.2).within(0.10)


def test_nor_do_they_within_a_entity():
    """Each entity leaks 4 of 20 facts and over-forgets the rest: its mean is 0."""
    entities = [str(i // 20) for i in range(2000)]
    d = np.where(np.arange(2000) % 20 < 4, 0.8, -0.2)
    leak = leak_rate(d, np.full(2000, 0.8), alpha=0.05, gap_floor=0.2, entities=entities)
    assert leak.rate == pytest.approx(0.2)
    assert leak.upper >= 0.2


def test_facts_of_one_subject_count_as_one_piece_of_evidence():
    d, g = np.zeros(400), np.full(400, 0.8)
    entities = [str(i // 20) for i in range(400)]
    census = leak_rate(d, g, alpha=0.05, gap_floor=0.2)
    sampled = leak_rate(d, g, alpha=0.05, gap_floor=0.2, entities=entities)
    assert census.within(0.10)
    assert not sampled.within(0.10)
    assert (sampled.leaked, sampled.eligible) == (0, 400)


def test_clustered_leaks_are_covered():
    """Authors leak wholly or not at all, 15 % of them: the bound lies below in at most 5 %."""
    rng = np.random.default_rng(1)
    misses = []
    for _ in range(200):
        d = np.repeat(rng.random(60) < 0.15, 10) * 0.8
        entities = np.repeat(np.arange(60), 10).astype(str)
        g = np.full(600, 0.8)
        misses.append(leak_rate(d, g, alpha=0.05, gap_floor=0.2, entities=entities).upper < 0.15)
    assert np.mean(misses) <= 0.05


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="not a share"):
        clopper_pearson_upper(3, 2, 0.05)
