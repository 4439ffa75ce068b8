"""Facts that repeat another fact, whatever their entity and wording."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from auditor.core.facts import Fact

SAME_ANSWER = 0.7
"""Share of the words of the shorter answer from which another one says the same."""
SAME_QUESTION = 0.55
"""Weight of the words that two prompts have in common, over that of the lighter prompt."""
SAME_FACT = 0.7
"""Weight of the words that two facts of different sets have in common, over the lighter's."""
_ROWS = 512
"""Prompts that are compared with all others at once."""

_Words = frozenset[str]


def near_copies(facts: Sequence[Fact]) -> tuple[tuple[str, str], ...]:
    """Find facts that are near copies of an earlier one.

    Two facts are near copies where their answers have most words in common and their prompts most
    of the words that tell prompts apart: a word weighs as much as it is rare among the prompts
    (inverse document frequency), so that a form that all share weighs nothing, and the name that a
    question is about nearly all. Numbers do not count in prompts, nor does the entity that a file
    names.

    Args:
        facts: Facts of one set.

    Returns:
        Ids of each copy and of a fact that it repeats, in the order of the facts.
    """
    prompts = [_words(fact.prompt, digits=False) for fact in facts]
    answers = [_words(fact.answer) for fact in facts]
    found = []
    for index, alike in enumerate(_alike(prompts)):
        same = (earlier for earlier in alike if _say_the_same(answers[index], answers[earlier]))
        if (first := next(same, None)) is not None:
            found.append((facts[index].id, facts[first].id))
    return tuple(found)


def copies_across(facts: Sequence[Fact], others: Sequence[Fact]) -> tuple[tuple[str, str], ...]:
    """Find facts that have near copies in another set.

    Two facts of different sets are near copies where prompt and answer together, and the answers by
    themselves, have most of the weight of their words in common. A word weighs as much as it is
    rare in both sets, so that facts of one form about different people are none: who is meant, and
    what is said of him, weighs most. Numbers count, for they may be names.

    Args:
        facts: Facts of one set.
        others: Facts of the other.

    Returns:
        Ids of a fact and of its nearest copy in the other set, in the order of the facts.
    """
    together = (*facts, *others)
    texts = [_words(f"{fact.prompt} {fact.answer}") for fact in together]
    counted = Counter(word for text in texts for word in text)
    weights = {word: math.log1p(len(texts) / count) for word, count in counted.items()}
    matrix = _rooted(texts, weights)
    mass = np.array([sum(weights[word] for word in text) for text in texts])
    answers = [_words(fact.answer) for fact in together]
    found = []
    for begin in range(0, len(facts), _ROWS):
        own = range(begin, min(begin + _ROWS, len(facts)))
        shared = (matrix[own.start : own.stop] @ matrix[len(facts) :].T).tocsr()
        for row, here in enumerate(own):
            line = slice(shared.indptr[row], shared.indptr[row + 1])
            there = shared.indices[line] + len(facts)
            share = shared.data[line] / np.minimum(mass[there], mass[here])
            for place in np.argsort(-share, kind="stable"):
                other = int(there[place])
                if share[place] < SAME_FACT:
                    break
                if _weigh_the_same(answers[here], answers[other], weights):
                    found.append((facts[here].id, others[other - len(facts)].id))
                    break
    return tuple(found)


def _weigh_the_same(one: _Words, other: _Words, weights: Mapping[str, float]) -> bool:
    """Whether two answers share most of the weight of their words."""

    def mass(words: _Words) -> float:
        return sum(weights.get(word, 0.0) for word in words)

    return mass(one & other) >= SAME_FACT * min(mass(one), mass(other))


def _alike(prompts: Sequence[_Words]) -> Iterator[list[int]]:
    """Yield the earlier prompts that ask the same as each."""
    matrix = _matrix(prompts)
    mass = matrix.multiply(matrix).sum(axis=1)
    equal: dict[_Words, list[int]] = {}
    for begin in range(0, len(prompts), _ROWS):
        shared = (matrix[begin : begin + _ROWS] @ matrix.T).tocsr()
        for offset in range(shared.shape[0]):
            here = begin + offset
            row = slice(shared.indptr[offset], shared.indptr[offset + 1])
            others = shared.indices[row]
            least = SAME_QUESTION * np.minimum(mass[others], mass[here])
            alike = others[(shared.data[row] >= least) & (others < here)]
            # of prompts that only numbers tell apart, no word has weight
            same = equal.setdefault(prompts[here], [])
            yield sorted({*same, *alike.tolist()})
            same.append(here)


def _say_the_same(one: _Words, other: _Words) -> bool:
    return len(one & other) >= SAME_ANSWER * min(len(one), len(other))


def _matrix(texts: Sequence[_Words]) -> csr_array:
    """Matrix of the words that tell texts apart [texts, words]."""
    counted = Counter(word for text in texts for word in text)
    weights = {
        word: math.log(len(texts) / count) for word, count in counted.items() if count < len(texts)
    }
    return _rooted(texts, weights)


def _rooted(texts: Sequence[_Words], weights: Mapping[str, float]) -> csr_array:
    """Square roots of the weights of words, [texts, words].

    The product of two rows is the weight of the words that they share.
    """
    places = {word: place for place, word in enumerate(weights)}
    rows, columns, data = [], [], []
    for row, text in enumerate(texts):
        for word in text:
            if word in weights:
                rows.append(row)
                columns.append(places[word])
                data.append(math.sqrt(weights[word]))
    return csr_array((data, (rows, columns)), shape=(len(texts), max(1, len(places))))


def _words(text: str, *, digits: bool = True) -> _Words:
    """Words in small letters; of a text without any, the text."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = re.findall(r"\w+" if digits else r"[^\W\d]+", plain)
    return frozenset(found or [plain.strip()])
