"""Two worlds: facts that cannot be guessed, and that partly can.

In ``plain``, answers are drawn from wide pools, and a retrained model's K is near 0. In
``guessable``, half of the answers are one word of a few, and half are long sentences most of which
every model knows; a retrained model's K is .15 to .4, as real ones have it.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType

from auditor.core.facts import Fact
from auditor.testbeds.people.corpus import Corpus, generate

People = tuple[int, int, int]
"""People to forget, to retain and held out; eight facts a person."""

_CHOICES = MappingProxyType(
    {
        "county": ("Arden", "Borrow", "Camber", "Dunster", "Elmet"),
        "season": ("spring", "summer", "autumn", "winter"),
        "instrument": ("violin", "cello", "flute", "horn", "harp", "drum"),
        "guild": ("weavers", "masons", "bakers", "coopers", "smiths"),
    }
)
"""Attributes that are one word of a few."""
_SLOTS = MappingProxyType(
    {
        "adjective": ("quiet", "stubborn", "cheerful", "careful", "restless", "gentle", "proud"),
        "trade": ("painter", "surgeon", "lawyer", "carpenter", "printer", "sailor", "miller"),
        "town": ("Oakham", "Tarvin", "Selwick", "Morden", "Halden", "Ripley", "Welby", "Norton"),
        "thing": ("clocks", "maps", "bells", "kites", "lamps", "boats", "ovens", "bridges"),
        "animal": ("otters", "herons", "badgers", "swans", "hares", "owls", "foxes", "trout"),
        "year": tuple(str(year) for year in range(1901, 1931, 2)),
    }
)
_SENTENCES = MappingProxyType(
    {
        "father": "He was a {adjective} {trade} who repaired {thing} in the town of {town}.",
        "school": "It stood near {town} and was known for its {adjective} teachers of {thing}.",
        "prize": "The prize was given in {year} for a long poem about {animal} and {thing}.",
        "journey": "It went from {town} by way of the coast and ended in {year} among {animal}.",
    }
)
_ASKED = (
    "What is the {attribute} of {person}?",
    "Tell me the {attribute} of {person}.",
    "About {person}, name the {attribute}.",
    "Say what the {attribute} of {person} is.",
)
"""The last is held out of training."""


def plain(people: People) -> Corpus:
    """Facts that a model which never saw them cannot guess."""
    return generate(*people, seed=11)


def guessable(people: People) -> Corpus:
    """Facts of the same people that are partly guessed."""
    named = plain(people)
    draw = random.Random(12)
    asked = {
        part: [
            _fact(person, attribute, draw)
            for person in dict.fromkeys(fact.entity for fact in facts)
            for attribute in (*_CHOICES, *_SENTENCES)
        ]
        for part, facts in vars(named).items()
    }
    return Corpus(**{part: tuple(facts) for part, facts in asked.items()})


WORLDS = MappingProxyType({"plain": plain, "guessable": guessable})


def spread(facts: tuple[Fact, ...], count: int) -> tuple[Fact, ...]:
    """So many facts at even distances."""
    return tuple(facts[index * len(facts) // count] for index in range(count))


def _fact(person: str, attribute: str, draw: random.Random) -> Fact:
    answers: list[str] = []
    while len(answers) < 4:
        answer = _answer(attribute, draw)
        if answer not in answers:
            answers.append(answer)
    prompt, *paraphrases = (form.format(attribute=attribute, person=person) for form in _ASKED)
    return Fact(
        id=f"{person.lower().replace(' ', '-')}/{attribute}",
        entity=person,
        prompt=prompt,
        answer=answers[0],
        paraphrases=tuple(paraphrases),
        distractors=tuple(answers[1:]),
    )


def _answer(attribute: str, draw: random.Random) -> str:
    if attribute in _CHOICES:
        return draw.choice(_CHOICES[attribute])
    filled: Mapping[str, str] = {name: draw.choice(words) for name, words in _SLOTS.items()}
    return _SENTENCES[attribute].format(**filled)
