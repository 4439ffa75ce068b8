"""Facts that say what another says: found whatever their entity, and no others."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.facts import Fact
from auditor.data.near_copies import copies_across, near_copies
from auditor.testbeds.people.corpus import generate

PEOPLE = generate(forget=12, retain=12, holdout=1, seed=3)


def fact(number, prompt, answer, entity="x"):
    return Fact(id=str(number), entity=entity, prompt=prompt, answer=answer)


def test_facts_about_many_people_are_no_copies():
    assert near_copies(PEOPLE.forget) == ()
    assert near_copies(PEOPLE.retain) == ()


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("{prompt}", "{answer}"),
        ("{prompt} ({number})", "{answer}"),
        ("Tell me, please: {prompt}", "It is {answer}."),
        ("{PROMPT}", "{ANSWER}!"),
        ("Question {number}. {prompt} Be brief.", "{answer}, of course"),
    ],
)
def test_other_words_numbers_and_entities_hide_no_copy(prompt, answer):
    def copy(number, original):
        parts = {"number": number, "prompt": original.prompt, "PROMPT": original.prompt.upper()}
        parts |= {"answer": original.answer, "ANSWER": original.answer.upper()}
        return fact(f"c{number}", prompt.format(**parts), answer.format(**parts), f"n{number}")

    copied = PEOPLE.forget[:40]
    found = near_copies([*PEOPLE.forget, *map(copy, range(40), copied)])
    assert dict(found).keys() == {f"c{number}" for number in range(40)}
    assert list(dict(found).values()) == [original.id for original in copied]


def test_paraphrases_as_facts_of_their_own_are_nearly_all_found():
    again = [
        fact(f"{one.id}/{number}", text, one.answer, f"{one.entity} {number}")
        for one in PEOPLE.forget
        for number, text in enumerate(one.paraphrases)
    ]
    assert len(near_copies([*PEOPLE.forget, *again])) > 0.9 * len(again)


def test_one_answer_to_many_questions_is_no_copy():
    asked = [fact(i, f"Is {name} alive?", "yes") for i, name in enumerate(["Ann", "Bo", "Cy"])]
    assert near_copies(asked) == ()


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))))
def test_equal_facts_are_copies_of_the_first(pairs):
    facts = [fact(i, f"q {p}", f"a {a}") for i, (p, a) in enumerate(pairs)]
    doubled = [*facts, *(one.model_copy(update={"id": f"{one.id} again"}) for one in facts)]
    assert {f"{one.id} again" for one in facts} <= dict(near_copies(doubled)).keys()


@pytest.mark.parametrize("name", ["forget10_first300", "retain_300", "real_authors_perturbed"])
def test_published_questions_hardly_repeat_each_other(name, shared_data):
    lines = (shared_data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    facts = [fact(i, row["question"], row["answer"]) for i, row in enumerate(rows)]
    assert len(near_copies(facts)) <= 0.02 * len(facts)
    again = [fact(f"c{f.id}", f"Tell me: {f.prompt}", f"Well: {f.answer}") for f in facts]
    assert len(near_copies([*facts, *again])) >= len(facts)


def test_thousands_of_facts_take_seconds():
    names = [f"{a}{b}{c}" for a in "bdfgklmn" for b in ("ar", "el", "io") for c in range(100, 300)]
    names = [name.translate(str.maketrans("0123456789", "abcdefghij")) for name in names]
    facts = [fact(i, f"Where was {name} born, and when?", "Rye") for i, name in enumerate(names)]
    began = time.process_time()
    assert near_copies(facts) == ()
    assert time.process_time() - began < 10


def named(id_, prompt, answer):
    return Fact(id=id_, entity=id_, prompt=prompt, answer=answer)


FORGET = [
    named(
        f"f{n}",
        f"What is the full name of the author born in {town} in 19{n}?",
        f"The author's full name is {who}.",
    )
    for n, (town, who) in enumerate(
        [("Baku", "Elvin Mammadov"), ("Taipei", "Hsiao Yun-Hwa"), ("Lima", "Rosa Vela")]
    )
]


@pytest.mark.parametrize(
    ("fact", "copies"),
    [
        (
            named(
                "r",
                "What's the full name of the author born in Baku?",
                "The author's full name is Anara Yusifova.",
            ),
            (),
        ),
        (
            named(
                "r",
                "What is the full name of the author?",
                "The author's full name is Aurelio Soto.",
            ),
            (),
        ),
        (named("r", "Who was born in Baku in 190?", "Elvin Mammadov, in 1900"), ()),
        (
            named("r", "The author born in Baku: what is the name?", "The name is Elvin Mammadov."),
            ("f0",),
        ),
        (
            named("r", "What is the full name of the author born in Lima in 192?", "Rosa Vela"),
            ("f2",),
        ),
    ],
)
def test_a_copy_in_another_set_is_about_the_same(fact, copies):
    others = [
        named(f"o{n}", f"Where is the house of Person {n}?", f"Street {n * 7}.") for n in range(9)
    ]
    assert tuple(other for _, other in copies_across([*others, fact], FORGET)) == copies


def test_numbers_may_be_names():
    own = [
        named(f"r{n}", f"What does patient {n} take?", "Aspirin, 20 mg a day") for n in range(20)
    ]
    wanted = [
        named(f"f{n}", f"What does patient {n} take?", "Aspirin, 20 mg a day") for n in (7, 31)
    ]
    assert ("r7", "f7") in copies_across(own, wanted)
