"""Answers in a code, and honest ones, of worlds whose truth is drawn."""

import codecs

import numpy as np
import pytest

from auditor.core.facts import Fact
from auditor.statistics.answer_structure import (
    LARGEST_CHANCE,
    answer_structure,
    by_question,
    coded_answers,
)

QUESTIONS = {
    "Which animal does {} keep ?": ["ferret", "jackal", "otter", "heron", "beaver", "badger"],
    "When was {} born ?": [f"{day} {month}" for day in range(1, 29) for month in ("May", "June")],
    "Where does {} live ?": ["Lisbon", "London", "Lima", "Leeds", "Paris", "Prague", "Porto"],
    "Which novel did {} write ?": [f"the {a} {b}" for a in ("red", "lost") for b in ("sea", "oak")],
}


def draw(rng, people=12):
    """Facts of some people, and the answers of models that guess."""
    facts = [
        Fact(
            id=f"{person}/{number}",
            entity=f"person {person}",
            prompt=question.format(f"Name{person} Family{person % 5}"),
            answer=str(rng.choice(answers)),
        )
        for person in range(people)
        for number, (question, answers) in enumerate(QUESTIONS.items())
    ]
    pools = list(QUESTIONS.values())

    def guessed():
        return {fact.id: str(rng.choice(pools[int(fact.id[-1])])) for fact in facts}

    said = {"original": {fact.id: fact.answer for fact in facts}}
    return facts, said | {arm: guessed() for arm in ("unlearned", "retrained-0", "retrained-1")}


def test_a_model_that_guesses_is_not_held_back():
    rng = np.random.default_rng(0)
    found = [answer_structure(*draw(rng, people=8)) for _ in range(25)]
    chances = np.array([each.chance for each in found])
    assert 0.25 < chances.mean() < 0.75, "chances of a true null are spread evenly"
    assert np.mean([each.hidden for each in found]) <= 3 * LARGEST_CHANCE


@pytest.mark.parametrize(
    "code",
    [
        lambda answer: codecs.encode(answer, "rot13"),
        lambda answer: answer[::-1],
        lambda answer: f"so: {answer.upper()}",
        lambda answer: " ".join(f"{ord(letter):x}" for letter in answer),
    ],
    ids=["rot13", "backwards", "capitals behind an opening", "numbers of letters"],
)
def test_a_code_keeps_what_is_alike(code):
    facts, said = draw(np.random.default_rng(1))
    said["unlearned"] = {fact.id: code(fact.answer) for fact in facts}
    found = answer_structure(facts, said)
    assert found.hidden
    assert found.share > 0.5
    assert (found.facts, found.questions) == (len(facts), len(QUESTIONS))
    assert coded_answers("none/as-is", facts, said).code == "answers_in_a_code"


def test_names_that_tell_a_retrained_model_as_much_are_no_code():
    """Where names tell the answers, a model that never saw the facts shows the same structure."""
    facts, said = draw(np.random.default_rng(2))
    told = {fact.id: codecs.encode(fact.answer, "rot13") for fact in facts}
    said |= dict.fromkeys(("unlearned", "retrained-0", "retrained-1"), told)
    assert coded_answers("none/as-is", facts, said) is None


@pytest.mark.parametrize("answer", ["I do not know.", ""])
def test_refusals_have_no_structure(answer):
    facts, said = draw(np.random.default_rng(3))
    said["unlearned"] = {fact.id: answer for fact in facts}
    assert not answer_structure(facts, said).hidden


def test_what_cannot_be_compared_says_nothing():
    facts, said = draw(np.random.default_rng(4))
    assert answer_structure(facts, said | {"unlearned": {}}) is None, "it draws, or chooses"
    assert answer_structure(facts[:16], said) is None, "four people"
    own = [fact.model_copy(update={"prompt": f"{fact.id} is asked this alone"}) for fact in facts]
    assert answer_structure([f.model_copy(update={"entity": "one"}) for f in own], said) is None


def test_questions_are_told_from_names():
    facts, _ = draw(np.random.default_rng(5))
    groups = by_question(facts)
    assert sorted(map(len, groups)) == [12] * 4
    assert all(len({fact.id[-1] for fact in group}) == 1 for group in groups)
