"""Prompts that compose concepts, each with the same words composed otherwise."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, get_args

CompositionKind = Literal["colour", "count", "pair", "binding"]
"""What is composed: a colour with a concept, a number with it, two concepts, or two concepts with
a colour each (arXiv 2307.06350, 2310.11513)."""

COMPOSITION_KINDS: tuple[CompositionKind, ...] = get_args(CompositionKind)

NUMBERS = ("one", "two", "three", "four")
"""Numbers of things, from one on."""

_HISSING = ("s", "x", "z", "ch", "sh")
"""Endings after which a plural has another syllable."""
_VOWELS = "aeiou"


@dataclass(frozen=True)
class Composition:
    """A prompt, and what it must not be taken for."""

    kind: CompositionKind
    text: str
    others: tuple[str, ...]
    """Texts of the same form with a part exchanged, each once."""


def compositions(
    concepts: Sequence[str], colors: Sequence[str], count: int, seed: int
) -> tuple[Composition, ...]:
    """Return prompts that compose concepts, up to ``count`` of each kind.

    A kind for which there are too few concepts or colours is left out.

    Args:
        concepts: names of things, each once.
        colors: names of colours, each once.
        count: most prompts of a kind.
        seed: seed of which are taken.
    """
    found: list[Composition] = []
    for kind in COMPOSITION_KINDS:
        every = list(_every(kind, concepts, colors))
        chance = random.Random(f"{seed}/{kind}")  # noqa: S311 - a reproducible draw, not a secret
        taken = chance.sample(range(len(every)), min(count, len(every)))
        found += [every[i] for i in sorted(taken)]
    return tuple(found)


def _every(
    kind: CompositionKind, concepts: Sequence[str], colors: Sequence[str]
) -> Iterator[Composition]:
    if kind == "colour":
        for concept in concepts:
            forms = [_one(f"{color} {concept}") for color in colors]
            yield from _against_each_other(kind, forms)
    elif kind == "count":
        for concept in concepts:
            forms = [f"{NUMBERS[0]} {concept}", *(f"{n} {_plural(concept)}" for n in NUMBERS[1:])]
            yield from _against_each_other(kind, forms)
    elif kind == "pair":
        for one, other in permutations(concepts, 2):
            rest = [third for third in concepts if third not in (one, other)]
            wrong = [_both(one, third) for third in rest] + [_both(other, third) for third in rest]
            wrong += [_both(one, one), _both(other, other)]
            yield Composition(kind, _both(one, other), tuple(wrong))
    else:
        for one, other in permutations(concepts, 2):
            for first, second in permutations(colors, 2):
                right = _both(f"{first} {one}", f"{second} {other}")
                others = (
                    _both(f"{second} {one}", f"{first} {other}"),
                    _both(f"{first} {one}", f"{first} {other}"),
                    _both(f"{second} {one}", f"{second} {other}"),
                )
                yield Composition(kind, right, others)


def _against_each_other(kind: CompositionKind, forms: Sequence[str]) -> Iterator[Composition]:
    if len(forms) > 1:
        for form in forms:
            yield Composition(kind, form, tuple(other for other in forms if other != form))


def _both(one: str, other: str) -> str:
    return f"{_one(one)} and {_one(other)}"


def _one(thing: str) -> str:
    return f"{'an' if thing[:1].lower() in _VOWELS else 'a'} {thing}"


def _plural(concept: str) -> str:
    if concept.lower().endswith(_HISSING):
        return f"{concept}es"
    if concept.endswith("y") and concept[-2:-1].lower() not in _VOWELS:
        return f"{concept[:-1]}ies"
    return f"{concept}s"
