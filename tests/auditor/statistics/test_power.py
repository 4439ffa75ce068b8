import numpy as np
import pytest

from auditor.statistics import Margins, facts_needed, power_at, zero_noise_bound
from benchmarks.false_certification import testbed as draw_testbed


@pytest.fixture(scope="module")
def pilot():
    """128 facts with the testbed's gaps: the original, and three retrained models."""
    rng = np.random.default_rng(7)
    original, first, second = draw_testbed(128, rng)
    return original, np.stack([first, second, draw_testbed(128, rng)[1]])


def test_the_bound_without_noise_is_the_formula():
    margins = Margins()
    assert zero_noise_bound(0.84, margins) == 38  # ln 20 / ln 1.084 = 37.1
    assert zero_noise_bound(1.0, margins) == 32
    assert zero_noise_bound(1.0, Margins(delta=0.05)) == 62
    assert zero_noise_bound(1.0, Margins(delta=0.5)) == 29  # leaks alone need 29
    assert zero_noise_bound(0.0, margins) is None


def test_one_retrained_model_gives_the_bound_and_no_more(pilot):
    original, retrained = pilot
    needed = facts_needed(original, retrained[:1], Margins())
    assert (needed.needed, needed.power_available) == (None, None)
    assert needed.at_least == zero_noise_bound(float((original - retrained[0]).mean()), Margins())
    assert needed.basis.code == "lower_bound_without_noise"
    assert power_at(128, original, retrained[:1], Margins()) is None


def test_128_facts_with_the_testbed_gaps_are_enough(pilot):
    original, retrained = pilot
    needed = facts_needed(original, retrained[:2], Margins())
    assert needed.at_least <= needed.needed <= 128
    assert needed.available == 128
    assert needed.power_available >= 0.8
    assert power_at(needed.needed, original, retrained[:2], Margins()) >= 0.8
    assert power_at(needed.at_least - 1, original, retrained[:2], Margins()) == 0.0


def test_power_rises_with_the_number_of_facts(pilot):
    original, retrained = pilot
    powers = [power_at(n, original, retrained[:2], Margins()) for n in (30, 50, 60, 70, 90)]
    assert powers == sorted(powers)


def test_many_attacks_need_more_facts_unless_they_stand_and_fall_together(pilot):
    original, retrained = pilot[0], pilot[1][:2]
    one = facts_needed(original, retrained, Margins())
    independent = facts_needed(original, retrained, Margins(), attacks=8)
    dependent = facts_needed(original, retrained, Margins(), attacks=8, joint="dependent")
    assert dependent.needed == one.needed < independent.needed
    assert independent.basis.params["attacks"] == 8
    assert independent.basis.params["joint"] == "independent"


def test_three_seeds_cost_facts_and_a_smaller_margin_costs_more(pilot):
    original, retrained = pilot
    two = facts_needed(original, retrained[:2], Margins())
    assert facts_needed(original, retrained, Margins()).needed > two.needed
    assert facts_needed(original, retrained[:2], Margins(delta=0.05)).needed > two.needed


def test_baselines_too_far_apart_never_pass(pilot):
    original, retrained = pilot
    apart = facts_needed(original, np.stack([retrained[0], retrained[0] + 0.3]), Margins())
    assert apart.needed is None
    assert apart.power_available < 0.8


def test_without_a_gap_no_number_of_facts_is_enough(pilot):
    _, retrained = pilot
    none = facts_needed(np.zeros(128), retrained[:2], Margins())
    assert (none.needed, none.at_least, none.power_available) == (None, None, 0.0)


def test_in_sampled_scope_subjects_are_counted(pilot):
    original, retrained = pilot
    entities = [str(i // 4) for i in range(128)]
    needed = facts_needed(original, retrained[:2], Margins(), scope="sampled", entities=entities)
    assert needed.available == 32
    assert needed.power_available == 0.0
    assert needed.needed > 32


def test_the_same_question_has_the_same_answer(pilot):
    original, retrained = pilot
    assert facts_needed(original, retrained, Margins()) == facts_needed(
        original, retrained, Margins()
    )
