"""The names of a concept, and where they stand in a prompt."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from auditor.core.facts import Fact

_ARTICLES = frozenset({"a", "an", "the", "one", "some"})
_MOST_WORDS = 4
"""Words of a synonym; where more differ, a paraphrase says the whole prompt anew."""

Pieces = tuple[str | None, ...]
"""A prompt in pieces; None stands where new tokens go."""


def concept_names(facts: Iterable[Fact]) -> Mapping[str, tuple[str, ...]]:
    """Names of each concept in lower case, longest first.

    A concept is a fact's answer.

    They are the concept itself, the entity, and what stands in a paraphrase in the place where
    the prompt, or another paraphrase, has a name.
    """
    return {concept: _names(members) for concept, members in by_concept(facts).items()}


def by_concept(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """Facts by concept (their answer), in their order."""
    concepts: dict[str, list[Fact]] = {}
    for fact in facts:
        concepts.setdefault(fact.answer, []).append(fact)
    return concepts


def _names(facts: Sequence[Fact]) -> tuple[str, ...]:
    names = {name.strip().lower() for fact in facts for name in (fact.answer, fact.entity)}
    pairs = {pair for fact in facts for pair in _differences(fact)}
    while found := {b for a, b in pairs if a in names} - names:
        names |= found
    return tuple(sorted(names, key=lambda name: (-len(name), name)))


def _differences(fact: Fact) -> Iterator[tuple[str, str]]:
    """Differing parts of two wordings that are otherwise the same."""
    wordings = [text.lower().split() for text in (fact.prompt, *fact.paraphrases)]
    for i, first in enumerate(wordings):
        for second in wordings[i + 1 :]:
            before = _shared(first, second)
            rest, other = first[before:], second[before:]
            after = _shared(rest[::-1], other[::-1])
            a, b = (_bare(words[: len(words) - after]) for words in (rest, other))
            if a and b:
                yield a, b
                yield b, a


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Number of words with which two lists begin alike."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    )


def _bare(words: Sequence[str]) -> str:
    """A few words without articles and commas around them, or nothing."""
    kept = [word for word in words if word not in _ARTICLES]
    return " ".join(kept).strip(".,;:!?\"'") if len(kept) <= _MOST_WORDS else ""


def without_names(prompt: str, names: Sequence[str]) -> Pieces:
    """Prompt with None for each name of the concept or its plural.

    Where it holds no name, None comes first.
    """
    alternatives = "|".join(re.escape(name) for name in names)
    parts = re.split(rf"(?<!\w)(?:{alternatives})(?:e?s)?(?!\w)", prompt, flags=re.IGNORECASE)
    if len(parts) == 1:
        return (None, prompt)
    pieces: list[str | None] = [parts[0]]
    for part in parts[1:]:
        pieces += [None, part]
    return tuple(piece for piece in pieces if piece is None or piece.strip())
