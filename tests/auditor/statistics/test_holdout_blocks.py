"""Placements among holdout facts: valid with enough entities, or only reported."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from auditor.statistics import Arms, Margins, placements
from auditor.statistics.betting import log_e_value, log_threshold
from auditor.statistics.holdout_blocks import LEAST_BLOCKS, holdout_blocks, not_deciding

MARGINS = Margins()
names = st.lists(st.sampled_from([f"person {i}" for i in range(9)]), min_size=1, max_size=40)


@given(names, names)
def test_entities_of_both_sets_are_dealt_over_the_blocks(forget, holdout):
    ours, theirs = holdout_blocks(forget, holdout)
    assert set(ours) == set(theirs)
    assert len(set(ours)) == min(len(set(forget)), len(set(holdout)))
    for entities, blocks in ((forget, ours), (holdout, theirs)):
        assert len(set(zip(entities, blocks, strict=True))) == len(set(entities))


class World:
    """Scores of models that find each person more or less likely, by luck of their training."""

    def __init__(self, people, holdout_people, facts, seed):
        self.rng = np.random.default_rng(seed)
        self.forget = np.repeat(np.arange(people), facts)
        self.holdout = np.repeat(np.arange(holdout_people), facts)
        self.hard = [self.rng.normal(size=entities.size) for entities in self._sets]
        dealt = holdout_blocks(self.forget.astype(str).tolist(), self.holdout.astype(str).tolist())
        self.blocks = [np.array(blocks) for blocks in dealt]

    @property
    def _sets(self):
        return self.forget, self.holdout

    def scores(self, known=0.0):
        """Scores of one model, which has seen forget facts where `known` is above 0."""
        luck = [0.7 * self.rng.normal(size=e.max() + 1)[e] for e in self._sets]
        noise = [0.5 * self.rng.normal(size=e.size) for e in self._sets]
        forget, holdout = (h + a + b for h, a, b in zip(self.hard, luck, noise, strict=True))
        return forget + known, holdout

    def arms(self, kept, seeds=2):
        """Placements by the former rule and by blocks, of a model that kept a share of facts."""
        seen = 3.0 * (self.rng.random(self.forget.size) < kept)
        models = [self.scores(seen), self.scores(3.0), *(self.scores() for _ in range(seeds))]
        entities = tuple(self.forget.astype(str))
        shared = np.stack([placements(*scores) for scores in models])
        own = np.stack([self._by_block(*scores) for scores in models])
        return (
            Arms(shared[0], shared[1], shared[2:], entities),
            Arms(own[0], own[1], own[2:], entities, tuple(self.blocks[0])),
        )

    def _by_block(self, forget, holdout):
        placed = np.empty(forget.size)
        for block in set(self.blocks[0]):
            members = self.blocks[0] == block
            placed[members] = placements(forget[members], holdout[self.blocks[1] == block])
        return placed


def reaches(arms):
    contrast = arms.contrast("census")
    return log_e_value(-contrast.against(MARGINS.delta)) >= log_threshold(MARGINS.alpha)


def counted(people, holdout_people, facts, kept, reps):
    """How often the former rule says "trained on", and how often blocks do where they decide."""
    former = now = 0
    for seed in range(reps):
        shared, blocked = World(people, holdout_people, facts, seed).arms(kept)
        former += reaches(shared)
        decides = not_deciding(blocked, MARGINS, "census") is None
        now += decides and reaches(blocked)
    return former, now


def test_a_holdout_of_one_person_deceived_the_former_rule_and_decides_nothing_now():
    former, now = counted(people=6, holdout_people=1, facts=20, kept=0.0, reps=60)
    assert former > binom.ppf(0.999, 60, MARGINS.alpha)
    assert now == 0


@pytest.mark.parametrize("facts", [3, 20])
def test_with_enough_people_honest_models_are_rarely_said_to_be_trained_on_the_facts(facts):
    _, now = counted(people=30, holdout_people=30, facts=facts, kept=0.0, reps=100)
    assert now <= binom.ppf(0.999, 100, MARGINS.alpha)


def test_a_model_that_was_trained_on_the_facts_is_found_with_the_least_number_of_people():
    _, now = counted(LEAST_BLOCKS, LEAST_BLOCKS, facts=6, kept=1.0, reps=30)
    assert now == 30


def test_why_placements_are_only_reported():
    few = World(6, 40, 3, 0).arms(0.0)[1]
    said = not_deciding(few, MARGINS, "census")
    assert (said.code, said.params) == (
        "too_few_holdout_entities",
        {"blocks": 6, "needed": LEAST_BLOCKS},
    )
    alone = World(30, 30, 3, 0).arms(0.0, seeds=1)[1]
    assert not_deciding(alone, MARGINS, "census").code == "no_other_retrained_model"


def test_a_retrained_model_that_looks_trained_on_the_facts_silences_the_attack():
    world = World(30, 30, 6, 0)
    _, blocked = world.arms(0.0)
    contaminated = Arms(
        blocked.unlearned,
        blocked.original,
        np.stack([blocked.original, blocked.retrained[1]]),
        blocked.entities,
        blocked.blocks,
    )
    said = not_deciding(contaminated, MARGINS, "census")
    assert (said.code, said.params) == ("retrained_found_to_be_trained", {"retrained": [0]})
