"""Other words for a question: what they say, and what is made of their answers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.prompting.framings import (
    FRAMES,
    OPEN,
    SYNONYMS,
    hinted,
    multiple_choice,
    with_synonyms,
)
from attacks.prompting.paraphrase import Paraphrase, ParaphraseParameters
from attacks.prompting.reframing import Reframing, ReframingParameters
from attacks.prompting.reworded import AS_IT_STANDS, applied
from attacks.prompting.sentence_rules import RULES, form
from attacks.prompting.surface import FORMS, Surface, without_punctuation
from auditor.attack import AttackContext, Parameters
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets, is_blank
from auditor.models.language.evaluator import TextEvaluator

WORDINGS = {**RULES, **FORMS, **OPEN, "multiple choice": multiple_choice}


def ask(prompt, **fields):
    return Fact(
        **{"id": "f", "subject": "Ann Lee", "prompt": prompt, "answer": "Pine Bay"} | fields
    )


GOLDEN = [
    ("Where was Ann Lee born?", "statement", "Ann Lee was born in"),
    (
        "When was the old mill of Ann Lee built?",
        "statement",
        "The old mill of Ann Lee was built on",
    ),
    ("What is the boat of Ann Lee called?", "statement", "The boat of Ann Lee is called"),
    ("Who were the parents of Ann Lee?", "statement", "The parents of Ann Lee were"),
    ("When is the birthday of Ann Lee?", "statement", "The birthday of Ann Lee is"),
    ("What is Ann Lee's trade?", "statement", "Ann Lee's trade is"),
    ("What novel did Ann Lee write?", "statement", None),
    ("Who is married to Ann Lee?", "statement", None),
    ("Where is the garden?", "statement", "The garden is"),
    ("Name the trade of Ann Lee.", "statement", None),
    ("What is the boat of Ann Lee called?", "naming order", "Name the boat of Ann Lee."),
    ("Where was Ann Lee born?", "naming order", None),
    (
        "Where was Ann Lee born?",
        "indirect",
        "I have always wanted to know: where was Ann Lee born?",
    ),
    ("Is Ann Lee a welder?", "indirect", None),
    ("Ann Lee was born in", "indirect", None),
    (
        "Where was Ann Lee born?",
        "question and answer",
        "Question: Where was Ann Lee born?\nAnswer:",
    ),
    ("Name her town.", "question and answer", "Task: Name her town.\nAnswer:"),
    ("Ann Lee lives in", "question and answer", "Sentence to complete: Ann Lee lives in\nAnswer:"),
    ("Ann Lee lives in", "polite", "Please go on from here: Ann Lee lives in"),
    ("Ann Lee lives in", "told to answer", "Finish this sentence: Ann Lee lives in"),
    ("Who, me?", "no punctuation", "Who me"),
    ("Who is  it?", "doubled spaces", "Who  is  it?"),
    ("Who is it?", "trailing space", "Who is it? "),
    ("Who is it?", "quotation marks", '"Who is it?"'),
    ("Who is ÜBER?", "lower case", "who is über?"),
    (
        "Who wrote the novel of Novel Lee?",
        "synonyms",
        "Who authored the work of fiction of Novel Lee?",
    ),
    ("Who is it?", "synonyms", None),
]


@pytest.mark.parametrize(("prompt", "name", "expected"), GOLDEN)
def test_wordings_say_what_they_should(prompt, name, expected):
    assert WORDINGS[name](ask(prompt)) == expected


@pytest.mark.parametrize("name", [*FRAMES, "background hint", "multiple choice"])
def test_frames_preserve_the_question_and_do_not_show_the_answer(name):
    question = "Where, {question} or {subject}, was Ann Lee's  boat?"  # braces are nothing special
    said = WORDINGS[name](ask(question, distractors=("Elm Ford",)))
    assert said.count(question) == 1
    assert ("Pine Bay" in said) == (name == "multiple choice")


@given(st.text(min_size=1).filter(lambda text: not is_blank(text)))
def test_wordings_are_total_and_deterministic(prompt):
    fact = ask(prompt)
    for wording in WORDINGS.values():
        said = wording(fact)
        assert said == wording(fact)
        assert said is None or said.strip()
    assert form(prompt) in ("question", "order", "opening")


def test_the_hint_needs_a_subject():
    assert hinted(ask("Who?")).startswith("What follows is about Ann Lee,")
    assert hinted(ask("Who?", subject="f")) is None  # what readers put where there is none


def test_synonyms_leave_the_subject_alone():
    fact = ask("Is the town of born town married?", subject="born town")
    assert with_synonyms(fact) == "Is the settlement of born town wedded?"
    assert not set(SYNONYMS) & set(SYNONYMS.values())


def test_the_place_of_the_true_choice_says_nothing():
    places = []
    for i in range(400):
        fact = ask("Which?", id=f"f{i}", distractors=("Elm Ford", "Oak Hill", "Ash Fell"))
        choices = re.findall("^- (.*)$", multiple_choice(fact), flags=re.MULTILINE)
        assert sorted(choices) == ["Ash Fell", "Elm Ford", "Oak Hill", "Pine Bay"]
        places.append(choices.index("Pine Bay"))
    assert all(60 < places.count(i) < 140 for i in range(4))  # 100 each, 4.6 deviations


def test_punctuation_alone_is_not_taken_away():
    assert without_punctuation("?!") is None


def test_a_wording_that_changes_nothing_does_not_count():
    asked = applied([ask("who"), ask("Who?", id="g")], {"lower case": lambda f: f.prompt.lower()})
    assert asked == {"lower case": {"g": "who?"}}


@pytest.fixture
def measured(subjects, tmp_path):
    """Measure facts on a tiny model under an attack."""

    def run(attack, facts, architecture="llama", metrics=("answer-probability",)):
        evaluator = TextEvaluator(FactSets(forget=facts), metrics)
        return attack.measure(subjects[architecture], AttackContext(evaluator, 0, tmp_path))

    return run


PERSONS = (
    Fact(
        id="a",
        entity="Person 1",
        prompt="Person 1 lives in",
        answer="city number 7",
        paraphrases=("The home of Person 1 is", "Person 1 is at home in"),
    ),
    Fact(
        id="b",
        entity="Person 2",
        prompt="Person 2 lives in",
        answer="city number 14",
        paraphrases=("The home of Person 2 is",),
    ),
    Fact(id="c", entity="Person 3", prompt="Person 3 lives in", answer="city number 21"),
)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "qwen2", "gemma", "opt"])
def test_a_fact_keeps_its_strongest_paraphrase(architecture, subjects, measured):
    attack = Paraphrase(ParaphraseParameters(source="given"))
    record = measured(attack, PERSONS, architecture)
    subject = subjects[architecture]
    by_prompt = {
        (fact.id, prompt): 2.718281828459045
        ** subject.score([(prompt, fact.answer)])[0].mean_log_probability
        for fact in PERSONS
        for prompt in (fact.prompt, *fact.paraphrases)
    }
    found = {row.fact: row.k for row in record.rows}
    for fact in PERSONS:  # the fact without paraphrases is asked as it stands
        prompts = fact.paraphrases or (fact.prompt,)
        best = max(by_prompt[fact.id, prompt] for prompt in prompts)
        assert found[fact.id] == pytest.approx(best, rel=1e-4)
    for row in record.rows:  # the wording that counted is kept, unless it is the fact's own
        own = next(fact.prompt for fact in PERSONS if fact.id == row.fact)
        assert by_prompt[row.fact, row.prompt or own] == pytest.approx(row.k, rel=1e-4)
        assert (row.prompt is None) == (row.fact == "c")
    notes = record.notes["wordings"]
    assert record.notes["facts_asked_as_they_stand"] == 1
    assert {name: entry["facts"] for name, entry in notes.items()} == {
        "paraphrase 1": 2,
        "paraphrase 2": 1,
        AS_IT_STANDS: 1,
    }
    first = [by_prompt[f.id, f.paraphrases[0]] for f in PERSONS[:2]]
    assert notes["paraphrase 1"]["mean_k"] == pytest.approx(sum(first) / 2, rel=1e-4)
    assert sum(entry["strongest"] for entry in notes.values()) == 3


@pytest.mark.parametrize(
    ("attack", "names"),
    [
        (Paraphrase(ParaphraseParameters(source="rules")), set(RULES) - {"statement"}),
        (Surface(Parameters()), set(FORMS)),
        (Reframing(ReframingParameters(kind="multiple choice")), {"multiple choice"}),
    ],
)
def test_every_wording_is_measured_by_every_probe(attack, names, measured):
    facts = tuple(
        fact.model_copy(update={"prompt": f"What town has {fact.entity}?", "distractors": ("x y",)})
        for fact in PERSONS
    )
    record = measured(attack, facts, metrics=("answer-probability", "rouge-l-recall"))
    assert {row.fact for row in record.rows} == {"a", "b", "c"}
    assert len(record.rows) == 6
    assert set(record.notes["wordings"]) == names - {"naming order"}
    assert record.notes["metric"] == "answer-probability"


def test_frames_beyond_the_context_are_unavailable(measured):
    with pytest.raises(UnavailableError, match="context holds 96"):
        measured(Reframing(ReframingParameters()), PERSONS)


def test_what_cannot_be_asked_is_unavailable(measured):
    plain = (PERSONS[2],)
    with pytest.raises(UnavailableError, match="use the variant `rules`"):
        measured(Paraphrase(ParaphraseParameters(source="given")), plain)
    with pytest.raises(UnavailableError, match="`distractors`"):
        measured(Reframing(ReframingParameters(kind="multiple choice")), plain)


def test_side_figures_are_means_beyond_the_retrained_models():
    def noted(k):
        return {"wordings": {"polite": {"facts": 5, "mean_k": k, "strongest": 5}}}

    notes = {"unlearned": noted(0.5), "original": noted(0.9)}
    attack = Surface(Parameters())
    assert attack.side_figures(notes) == ()
    notes |= {"retrained-0": noted(0.1), "retrained-1": noted(0.2)}
    values = {figure.of: figure.value for figure in attack.side_figures(notes)}
    assert values == {"unlearned": pytest.approx(0.35), "original": pytest.approx(0.75)}
