import numpy as np
import pytest
from scipy.stats import t

from auditor.statistics import Arms, Margins, Utility, assess_utility, seed_spread, self_test


def arms(retrained, original=0.9, unlearned=0.1, n=100, entities=None):
    return Arms(
        np.full(n, unlearned), np.full(n, original), np.asarray(retrained, dtype=float), entities
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unlearned": [0.1, np.nan]}, "missing measurement"),
        ({"unlearned": [0.1, 1.1]}, r"\[0, 1\]"),
        ({"original": [-0.1, 0.5]}, r"\[0, 1\]"),
        ({"unlearned": [0.1]}, "same facts"),
        ({"retrained": [0.1, 0.1]}, "dimension"),
        ({"retrained": np.empty((0, 2))}, "empty"),
        ({"unlearned": [], "original": [], "retrained": [[]]}, "empty"),
        ({"entities": ("a",)}, "1 entities for 2 facts"),
    ],
)
def test_arms_say_what_is_wrong_with_them(change, message):
    good = {"unlearned": [0.1, 0.2], "original": [0.9, 0.8], "retrained": [[0.1, 0.1]]}
    with pytest.raises(ValueError, match=message):
        Arms(**(good | change))


def test_arms_cannot_be_changed_afterwards():
    mine = np.full(3, 0.5)
    held = Arms(mine, mine, mine[None])
    mine[0] = 0.9
    assert held.unlearned[0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        held.unlearned[0] = 0.1


def test_sampled_scope_averages_within_subjects_and_census_does_not():
    held = Arms(
        np.array([0.2, 0.4, 0.6]),
        np.array([0.8, 1.0, 0.9]),
        np.array([[0.0, 0.2, 0.1], [0.2, 0.0, 0.1]]),
        ("b", "b", "a"),
    )
    assert held.contrast("census").d == pytest.approx([0.1, 0.3, 0.5])
    assert held.contrast("sampled").d == pytest.approx([0.5, 0.2])
    assert held.contrast("sampled").g == pytest.approx([0.8, 0.8])
    assert (held.facts, held.seeds, held.contrast("sampled").units) == (3, 2, 2)


def test_sampled_scope_needs_subjects_and_scopes_have_two_names():
    held = arms([[0.1] * 100])
    with pytest.raises(ValueError, match="entity of every fact"):
        held.contrast("sampled")
    with pytest.raises(ValueError, match="scope must be"):
        held.contrast("cluster")


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_leave_the_margin_alone(seeds):
    spread = seed_spread(arms(np.full((seeds, 100), 0.1)), Margins(), "census")
    assert (spread.s_rho, spread.shrinkage, spread.delta, spread.alpha) == (None, 0.0, 0.1, 0.05)


def test_from_three_seeds_on_the_margin_shrinks_by_the_formula():
    means = np.array([0.08, 0.10, 0.12])
    spread = seed_spread(arms(np.repeat(means[:, None], 100, axis=1)), Margins(), "census")
    s_rho = np.std(means, ddof=1) / (0.9 - 0.1)
    assert spread.s_rho == pytest.approx(s_rho)
    assert spread.shrinkage == pytest.approx(t.ppf(0.975, 2) * s_rho / np.sqrt(3))
    assert spread.delta == pytest.approx(0.1 - spread.shrinkage)
    assert spread.alpha == 0.025


def test_seeds_that_differ_too_much_leave_no_margin():
    wide = np.repeat(np.array([[0.0], [0.1], [0.2]]), 100, axis=1)
    assert seed_spread(arms(wide), Margins(), "census").delta is None
    no_gap = seed_spread(arms(np.full((3, 100), 0.9)), Margins(), "census")
    assert (no_gap.delta, no_gap.shrinkage) == (None, None)


def test_one_retrained_model_cannot_be_tested_against_itself():
    assert self_test(arms([[0.1] * 100]), Margins(), "census") == ()
    with pytest.raises(ValueError, match="nothing to be compared"):
        arms([[0.1] * 100]).with_seed_as_unlearned(0)


def test_each_retrained_model_is_audited_against_the_others():
    quiet = self_test(arms([[0.1] * 100, [0.11] * 100, [0.1] * 100]), Margins(), "census")
    assert [trial.passed for trial in quiet] == [True, True, True]
    one_remembers = self_test(arms([[0.1] * 100, [0.9] * 100, [0.1] * 100]), Margins(), "census")
    assert [trial.passed for trial in one_remembers] == [True, False, True]
    assert one_remembers[1].leak.leaked == 100


@pytest.mark.parametrize(
    ("unlearned", "state"), [(0.9, "kept"), (0.5, "lost"), (0.81, "undetermined")]
)
def test_utility_is_kept_lost_or_undetermined(unlearned, state):
    utility = Utility(np.full(200, unlearned), np.full(200, 0.9))
    assert assess_utility(utility, Margins(), "census").state == state


def test_utility_over_subjects_is_weaker_evidence_than_over_facts():
    entities = tuple(str(i // 20) for i in range(200))
    utility = Utility(np.full(200, 0.9), np.full(200, 0.9), entities)
    assert assess_utility(utility, Margins(), "census").state == "kept"
    sampled = assess_utility(utility, Margins(), "sampled")
    assert (sampled.state, sampled.units, sampled.facts) == ("undetermined", 10, 200)


def test_utility_arms_are_checked():
    with pytest.raises(ValueError, match="same retain facts"):
        Utility(np.full(2, 0.5), np.full(3, 0.5))
    with pytest.raises(ValueError, match="entities for"):
        Utility(np.full(2, 0.5), np.full(2, 0.5), ("a",))


@pytest.mark.parametrize("name", ["delta", "alpha", "leak_limit", "minimum_gap"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_margins_lie_between_zero_and_one(name, value):
    with pytest.raises(ValueError, match=name):
        Margins(**{name: value})
