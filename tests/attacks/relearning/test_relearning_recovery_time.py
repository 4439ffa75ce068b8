"""Times that are censored at a limit, worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.relearning.recovery_time import RecoveryTimes, faster, first_known, speed
from attacks.relearning.same_facts import SameFacts, SameFactsParameters

FAST = RecoveryTimes({4: 1, 8: 2}, never=1, limit=12)
SLOW = RecoveryTimes({8: 1}, never=3, limit=12)


def test_medians_by_hand():
    """Of four facts three quarters are unknown after 4 steps and one quarter after 8."""
    assert FAST.median == 8
    assert SLOW.median is None
    assert RecoveryTimes({}, never=4, limit=12).median is None
    assert RecoveryTimes({0: 4}, never=0, limit=12).median == 0
    assert RecoveryTimes({4: 2}, never=2, limit=12).median == 4  # half of them is enough


def test_log_rank_by_hand():
    """At 4: 1 of 8 facts, 4 at risk in FAST; at 8: 3 of 7, 3 at risk in FAST.

    Expected in FAST 1*4/8 + 3*3/7 = 25/14 of 3 observed; the variance is
    1*(4/8)*(4/8)*(7/7) + 3*(3/7)*(4/7)*(4/6) = 1/4 + 24/49.
    """
    z = (3 - 25 / 14) / math.sqrt(1 / 4 + 24 / 49)
    assert faster(FAST, SLOW) == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), rel=1e-9)
    assert faster(SLOW, FAST) == pytest.approx(1 - faster(FAST, SLOW), rel=1e-9)


def test_no_p_where_nothing_was_ever_known():
    never = RecoveryTimes({}, never=5, limit=12)
    assert faster(never, never) is None


def test_speed_by_hand():
    assert [speed(step, 40) for step in (0, 4, 10, 40, None)] == [1.0, 0.9, 0.75, 0.0, 0.0]


def test_the_first_time_counts_even_if_it_is_lost_again():
    known = [{"a"}, {"a", "b"}, {"a"}]
    assert [first_known((0, 4, 8), known, fact) for fact in "abc"] == [0, 4, None]


@given(st.lists(st.one_of(st.none(), st.integers(0, 10)), min_size=1, max_size=40))
def test_the_median_is_when_half_are_known(steps):
    """With censoring at the limit alone, Kaplan-Meier's curve is the share that is unknown."""
    times = [s for s in steps if s is not None]
    counts = {s: times.count(s) for s in set(times)}
    found = RecoveryTimes(counts, len(steps) - len(times), limit=10).median
    known = [np.mean([s is not None and s <= t for s in steps]) for t in range(11)]
    expected = next((t for t, share in enumerate(known) if share >= 0.5), None)
    assert found == expected


def test_side_figures_of_arms_that_recover_and_arms_that_do_not():
    def noted(known_after, never):
        return {"known_after": known_after, "never": never}

    notes = {
        "unlearned": noted([[4, 3]], 1),
        "original": noted([[0, 4]], 0),
        "retrained-0": noted([[8, 2]], 2),
        "retrained-1": noted([], 4),
        "comparison": {"not_explained": "MeasurementError"},
    }
    figures = SameFacts(SameFactsParameters(max_steps=12)).side_figures(notes)
    found = {(f.name, f.against or f.of): f.value for f in figures}
    median = "median_steps_until_known"
    assert found[median, "unlearned"] == 4
    assert found[median, "original"] == 0
    assert found[median, "retrained-0"] == 8
    assert (median, "retrained-1") not in found
    assert found["anamnesis_index", "retrained-0"] == 0.5
    assert ("anamnesis_index", "retrained-1") not in found
    # 3 of 8 known at 4, all in U (4 of 8 at risk); later ones only in R, where they count too
    p = {arm: found["log_rank_p", arm] for arm in ("retrained-0", "retrained-1")}
    variance = 3 * 0.5 * 0.5 * 5 / 7
    z = (3 - 1.5) / math.sqrt(variance)
    assert p["retrained-1"] == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), rel=1e-9)
    assert p["retrained-0"] > p["retrained-1"]
