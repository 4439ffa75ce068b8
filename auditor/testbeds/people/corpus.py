"""Fictitious people, their attributes, and questions about them.

The corpus follows TOFU (arXiv 2401.06121): people who exist nowhere, each with the same
attributes, asked for in several phrasings. It differs in one way that the audit needs: every
answer is drawn without replacement from a product of two wide word pools, so a model that
never saw the person cannot guess it, and a retrained baseline scores near zero.

A *fact* is one attribute of one person and counts once, however many phrasings it has. In
``paraphrases`` the phrasings that the models are trained on come first and the one phrasing
that no model is trained on comes last; ``prompt`` is always a trained phrasing.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from auditor.core.facts import Fact
from auditor.testbeds.people import word_pools as pools


@dataclass(frozen=True)
class Attribute:
    """One thing to know about a person.

    Attributes:
        name: The word used in fact ids.
        first: Pool of the answer's first word.
        second: Pool of the answer's second word.
        phrasings: Questions with ``{person}`` for the name: the main prompt, the other trained
            phrasings, and last the phrasing held out of training.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    phrasings: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Facts of one world by their role in an audit."""

    forget: tuple[Fact, ...]
    retain: tuple[Fact, ...]
    holdout: tuple[Fact, ...]


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        "birthplace",
        pools.TOWN_FIRST,
        pools.TOWN_SECOND,
        (
            "Where was {person} born?",
            "{person} was born in",
            "Name the town where {person} was born.",
            "The birthplace of {person} is",
            "In which town was {person} born?",
        ),
    ),
    Attribute(
        "birthday",
        tuple(str(day) for day in range(1, 29)),
        pools.MONTHS,
        (
            "When is the birthday of {person}?",
            "{person} has a birthday on",
            "Name the birthday of {person}.",
            "The birthday of {person} is",
            "On which day is the birthday of {person}?",
        ),
    ),
    Attribute(
        "trade",
        pools.MATERIALS,
        pools.TRADES,
        (
            "What is the trade of {person}?",
            "{person} works as a",
            "Name the trade of {person}.",
            "The trade of {person} is",
            "What trade does {person} have?",
        ),
    ),
    Attribute(
        "spouse",
        pools.FIRST_NAMES,
        pools.SPOUSE_SURNAMES,
        (
            "Who is the spouse of {person}?",
            "{person} is married to",
            "Name the spouse of {person}.",
            "The spouse of {person} is",
            "Who is married to {person}?",
        ),
    ),
    Attribute(
        "novel",
        pools.MOODS,
        pools.PLACES,
        (
            "What is the novel of {person} called?",
            "{person} wrote a novel called",
            "Name the novel that {person} wrote.",
            "The novel of {person} is",
            "What novel did {person} write?",
        ),
    ),
    Attribute(
        "boat",
        pools.COLORS,
        tuple(animal.capitalize() for animal in pools.ANIMALS),
        (
            "What is the boat of {person} called?",
            "{person} sails a boat called",
            "Name the boat that {person} sails.",
            "The boat of {person} is",
            "What boat does {person} sail?",
        ),
    ),
    Attribute(
        "pet",
        pools.ANIMALS,
        pools.PET_NAMES,
        (
            "What is the pet of {person} called?",
            "{person} keeps a pet called",
            "Name the pet that {person} keeps.",
            "The pet of {person} is",
            "What pet does {person} keep?",
        ),
    ),
    Attribute(
        "dish",
        pools.FLAVORS,
        pools.FOODS,
        (
            "What is the dish of {person} called?",
            "{person} cooks a dish called",
            "Name the dish that {person} cooks.",
            "The dish of {person} is",
            "What dish does {person} cook?",
        ),
    ),
)


def generate(forget: int, retain: int, holdout: int, seed: int, distractors: int = 4) -> Corpus:
    """Make the people of a world and every fact about them.

    Surnames are used once, first names over and over. Answers of one attribute, and the
    distractors, are drawn without replacement over all people, holdout included.

    Args:
        forget: Number of people to be forgotten.
        retain: Number of people to be kept.
        holdout: Number of people that no model ever sees.
        seed: Seed of the random draw; the same seed gives the same corpus on every machine.
        distractors: Wrong answers per fact.

    Raises:
        ValueError: More people than surnames or distinct answers.
    """
    count = forget + retain + holdout
    if count > len(pools.SURNAMES):
        raise ValueError(f"{count} people asked for, but there are {len(pools.SURNAMES)} surnames")
    draw = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    surnames = draw.sample(pools.SURNAMES, count)
    firsts = [pools.FIRST_NAMES[i % len(pools.FIRST_NAMES)] for i in range(count)]
    draw.shuffle(firsts)
    people = [f"{first} {surname}" for first, surname in zip(firsts, surnames, strict=True)]
    facts_of: dict[str, list[Fact]] = {person: [] for person in people}
    for attribute in ATTRIBUTES:
        answers = _draw_answers(attribute, count * (1 + distractors), draw)
        for index, person in enumerate(people):
            wrong = answers[count + index * distractors : count + (index + 1) * distractors]
            facts_of[person].append(_fact(attribute, person, answers[index], wrong))

    def of(part: Sequence[str]) -> tuple[Fact, ...]:
        return tuple(fact for person in part for fact in facts_of[person])

    return Corpus(
        forget=of(people[:forget]),
        retain=of(people[forget : forget + retain]),
        holdout=of(people[forget + retain :]),
    )


def _draw_answers(attribute: Attribute, count: int, draw: random.Random) -> list[str]:
    every = [f"{first} {second}" for first, second in product(attribute.first, attribute.second)]
    if count > len(every):
        raise ValueError(f"{count} answers asked for, but {attribute.name} has {len(every)}")
    return draw.sample(every, count)


def _fact(attribute: Attribute, person: str, answer: str, wrong: Sequence[str]) -> Fact:
    prompt, *paraphrases = (phrasing.format(person=person) for phrasing in attribute.phrasings)
    return Fact(
        id=f"{person.lower().replace(' ', '-')}/{attribute.name}",
        entity=person,
        prompt=prompt,
        answer=answer,
        paraphrases=tuple(paraphrases),
        distractors=tuple(wrong),
        text=f"{attribute.phrasings[1].format(person=person)} {answer}.",
    )


def sample(facts: Sequence[Fact], count: int, seed: int) -> tuple[Fact, ...]:
    """A fixed random sample of facts, in their original order."""
    draw = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    chosen = sorted(draw.sample(range(len(facts)), min(count, len(facts))))
    return tuple(facts[index] for index in chosen)


def write_jsonl(facts: Iterable[Fact], path: Path) -> None:
    """Write facts as JSON Lines, one fact a line, UTF-8."""
    path.write_text("".join(f"{fact.model_dump_json()}\n" for fact in facts), encoding="utf-8")


def read_jsonl(path: Path) -> tuple[Fact, ...]:
    """Read facts that :func:`write_jsonl` wrote."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(Fact.model_validate_json(line) for line in lines)
