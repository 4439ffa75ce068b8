"""Specificity of what real tiny models say, and of what somebody else says for them."""

import math

import pytest
from tiny_models import CONTEXT, make_model, make_tokenizer, open_directory, save

from auditor.core.facts import Fact
from auditor.models.language.specificity import answer_specificity, other_questions

FACTS = [
    Fact(id=f"{n}/{q}", entity=f"Person {n}", prompt=f"{asked} Person {n}?", answer="x")
    for n in range(3)
    for q, asked in enumerate(("Where lives", "How old is"))
]


@pytest.fixture
def model(tmp_path):
    return open_directory(save(tmp_path / "model", make_model("llama"), make_tokenizer()))


def test_each_question_stands_beside_the_same_about_the_next_entity():
    assert other_questions(FACTS) == [
        f"{asked} Person {(n + 1) % 3}?"
        for n in range(3)
        for asked in ("Where lives", "How old is")
    ]
    alone = [fact.model_copy(update={"entity": "one"}) for fact in FACTS]
    assert other_questions(alone) == [None] * len(FACTS)


def test_it_is_the_difference_of_two_probabilities(model):
    said = [f"city number {i}" for i in range(len(FACTS))]
    found = answer_specificity(model, FACTS, said)
    for fact, other, text, k in zip(FACTS, other_questions(FACTS), said, found, strict=True):
        own, crossed = model.score([(fact.prompt, text), (other, text)])
        difference = math.exp(own.mean_log_probability) - math.exp(crossed.mean_log_probability)
        assert k == pytest.approx(max(0.0, difference), abs=1e-6)


def test_silence_is_not_specific_and_one_entity_alone_has_none(model):
    assert answer_specificity(model, FACTS, [""] * len(FACTS)) == [0.0] * len(FACTS)
    alone = [fact.model_copy(update={"entity": "one"}) for fact in FACTS]
    assert answer_specificity(model, alone, ["x"] * len(FACTS)) == [None] * len(FACTS)


def test_an_answer_that_does_not_fit_is_read_as_far_as_it_does(model):
    said = ["lives in city " * CONTEXT, *(["x"] * (len(FACTS) - 1))]
    found = answer_specificity(model, FACTS, said)
    assert all(0.0 <= k <= 1.0 for k in found)
