from collections import Counter

import pytest

from auditor.core.facts import Fact
from auditor.testbeds.people import corpus
from auditor.testbeds.recipe import WORLDS
from auditor.unlearning.examples import trained_pairs, trained_prompts


@pytest.fixture(scope="module")
def people() -> corpus.Corpus:
    wanted = WORLDS["people"].corpus
    return corpus.generate(
        wanted.forget_people,
        wanted.retain_people,
        wanted.holdout_people,
        wanted.seed,
        wanted.distractors,
    )


def every(people: corpus.Corpus) -> list[Fact]:
    return [*people.forget, *people.retain, *people.holdout]


def attribute(fact: Fact) -> str:
    return fact.id.split("/")[1]


def test_forget_set_is_large_enough_to_pass_at_delta_one_tenth(people):
    assert len(people.forget) >= 96
    assert len({fact.entity for fact in people.forget}) >= 12


def test_ids_and_people_belong_to_one_set_only(people):
    facts = every(people)
    assert len({fact.id for fact in facts}) == len(facts)
    forget, retain, holdout = (
        {fact.entity for fact in part} for part in (people.forget, people.retain, people.holdout)
    )
    assert not forget & retain
    assert not forget & holdout
    assert not retain & holdout


def test_no_answer_of_an_attribute_is_shared_or_offered_as_a_distractor(people):
    facts = every(people)
    true = Counter((attribute(fact), fact.answer) for fact in facts)
    false = Counter((attribute(fact), wrong) for fact in facts for wrong in fact.distractors)
    assert max(true.values()) == 1
    assert max(false.values()) == 1
    assert not true.keys() & false.keys()
    assert {len(fact.distractors) for fact in facts} == {4}


def test_a_constant_answer_is_right_about_once_in_several_hundred_tries(people):
    for item in corpus.ATTRIBUTES:
        assert len(set(item.first)) * len(set(item.second)) >= 300
        assert len(set(item.first)) == len(item.first)
        assert len(set(item.second)) == len(item.second)


def test_no_question_gives_its_answer_away(people):
    for fact in every(people):
        for prompt in (fact.prompt, *fact.paraphrases):
            assert fact.entity in prompt
            assert fact.answer not in prompt


def test_unseen_phrasing_is_in_no_training_pair(people):
    trained = {prompt for prompt, _ in trained_pairs(every(people))}
    for fact in every(people):
        assert fact.paraphrases[-1] not in trained
        assert fact.prompt in trained_prompts(fact)
        assert len(trained_prompts(fact)) == 4


def test_the_seed_decides_the_people():
    assert corpus.generate(2, 3, 2, seed=1) == corpus.generate(2, 3, 2, seed=1)
    assert corpus.generate(2, 3, 2, seed=1) != corpus.generate(2, 3, 2, seed=2)


def test_more_people_than_surnames_are_refused():
    with pytest.raises(ValueError, match="surnames"):
        corpus.generate(100, 100, 100, seed=0)


def test_more_answers_than_the_pools_hold_are_refused():
    with pytest.raises(ValueError, match="birthday"):
        corpus.generate(10, 10, 10, seed=0, distractors=12)


def test_facts_survive_the_file(people, tmp_path):
    corpus.write_jsonl(people.forget, tmp_path / "forget.jsonl")
    assert corpus.read_jsonl(tmp_path / "forget.jsonl") == people.forget


def test_sample_is_fixed_and_in_order(people):
    first = corpus.sample(people.retain, 96, seed=7)
    assert first == corpus.sample(people.retain, 96, seed=7)
    assert len(first) == 96
    positions = [people.retain.index(fact) for fact in first]
    assert positions == sorted(positions)
