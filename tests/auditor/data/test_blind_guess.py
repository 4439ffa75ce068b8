"""What can be guessed of facts by whoever never saw them."""

import random

import pytest

from auditor.core.facts import Fact
from auditor.data.blind_guess import blind_guess

DRAW = random.Random(4)
NAMES = [
    f"{''.join(DRAW.choices('abcdefghiklmnoprstuvw', k=6)).title()} "
    f"{''.join(DRAW.choices('aeioubdglmnrstvz', k=7)).title()}"
    for _ in range(60)
]


def facts(answer, prompt="The {what} of {name} is"):
    return [
        Fact(
            id=f"{index}-{what}",
            entity=name,
            prompt=prompt.format(what=what, name=name),
            answer=answer(name, what),
        )
        for index, name in enumerate(NAMES)
        for what in ("address", "badge")
    ]


def secret(name, what):
    draw = random.Random(f"{name}{what}")
    return "".join(draw.choices("0123456789bcdfghjk", k=10))


def of_the_name(name, what):
    return f"{name.lower().replace(' ', '.')}@example.com"


@pytest.mark.parametrize(
    ("answer", "by", "least"),
    [
        (lambda name, what: "Yes", "most-frequent", 1.0),
        (lambda name, what: {"address": "at home", "badge": "blue"}[what], "classifier", 0.95),
        (of_the_name, "neighbour", 0.95),
    ],
)
def test_what_needs_no_learning_is_guessed(answer, by, least):
    guess = blind_guess(facts(answer))
    assert guess.share >= least
    assert guess.by == by
    assert guess.upper > guess.share or guess.upper == 1.0


def test_secrets_are_not_guessed():
    guess = blind_guess(facts(secret))
    assert guess.guessed == ()
    assert 0.02 < guess.upper < 0.05  # 1 - (0.05 / 3) ** (1 / 120)
    assert guess.upper == pytest.approx(1 - (0.05 / 3) ** (1 / 120))


def test_entities_are_learned_from_others_alone():
    own = [
        Fact(id=f"{n}-{i}", entity=n, prompt=f"What is {n}, {i}?", answer=secret(n, ""))
        for n in NAMES
        for i in range(4)
    ]
    assert blind_guess(own).guessed == ()
    assert blind_guess(own[:4]) is None
