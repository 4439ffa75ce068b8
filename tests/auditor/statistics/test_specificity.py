"""Answers of a model's own, and those of models that never saw the facts."""

import numpy as np
import pytest

from auditor.statistics.arms import Arms, Null
from auditor.statistics.margins import Margins
from auditor.statistics.specificity import LARGEST_CHANCE, LEAST_FACTS, specific_answers


def drawn(rng, mean, facts=80):
    """Specificities about a mean, as retrained models have them: many small, some large."""
    return rng.beta(2 * mean, 2 * (1 - mean), facts)


def asked(unlearned, original, *retrained, **others):
    arms = Arms(unlearned, original, np.array(retrained), **others)
    return specific_answers("none/as-is", arms, Margins(), "census")


def test_models_as_specific_as_the_baseline_are_not_held_back():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        one, two, three = (drawn(rng, 0.2) for _ in range(3))
        held += asked(one, drawn(rng, 0.9), two, three) is not None
    assert held <= 200 * LARGEST_CHANCE


@pytest.mark.parametrize("told", [1.0, 0.5])
def test_a_code_of_its_own_for_every_fact_is_seen(told):
    rng = np.random.default_rng(1)
    own = np.where(np.arange(80) < told * 80, drawn(rng, 0.95), drawn(rng, 0.2))
    found = asked(own, drawn(rng, 0.95), drawn(rng, 0.2), drawn(rng, 0.2))
    assert found.code == "answers_specific"
    assert found.params["lower"] > found.params["allowed"]
    assert found.params["lower"] < own.mean() - found.params["baseline"] + 0.1


def test_what_lies_within_the_retrained_models_differences_is_no_sign():
    rng = np.random.default_rng(2)
    own, original = drawn(rng, 0.4, 400), drawn(rng, 0.95, 400)
    assert asked(own, original, drawn(rng, 0.2, 400), drawn(rng, 0.2, 400)) is not None
    assert asked(own, original, drawn(rng, 0.1, 400), drawn(rng, 0.4, 400)) is None


def test_where_the_original_is_no_more_specific_nothing_is_said():
    rng = np.random.default_rng(3)
    assert asked(drawn(rng, 0.9), drawn(rng, 0.3), drawn(rng, 0.3), drawn(rng, 0.3)) is None


def test_few_facts_and_refusals_say_nothing():
    rng = np.random.default_rng(4)
    few = [drawn(rng, mean, LEAST_FACTS - 1) for mean in (0.95, 0.95, 0.1)]
    assert asked(*few) is None
    assert asked(np.zeros(80), drawn(rng, 0.95), drawn(rng, 0.2)) is None


def test_facts_never_seen_are_a_baseline_and_the_same_questions_are_not():
    rng = np.random.default_rng(5)
    people = tuple(f"person {i}" for i in range(80))

    def null(paired):
        return Null(drawn(rng, 0.2), drawn(rng, 0.2), people, paired, ("",) * 80, ("",) * 80)

    own, original, others = drawn(rng, 0.95), drawn(rng, 0.95), np.empty((0, 80))
    arms = Arms(own, original, others, people, null=null(paired=False))
    assert specific_answers("none/as-is", arms, Margins(), "census") is not None
    arms = Arms(drawn(rng, 0.2), original, others, people, null=null(paired=False))
    assert specific_answers("none/as-is", arms, Margins(), "census") is None
    arms = Arms(own, original, others, people, null=null(paired=True))
    assert specific_answers("none/as-is", arms, Margins(), "census") is None
    assert specific_answers("none/as-is", None, Margins(), "census") is None
