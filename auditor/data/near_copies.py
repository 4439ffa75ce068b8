"""Facts that repeat another fact, whatever their entity and wording."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array

from auditor.core.facts import Fact

SAME_ANSWER = 0.7
"""Share of the words of the shorter answer from which another one says the same."""
SAME_QUESTION = 0.55
"""Weight of the words that two prompts have in common, over that of the lighter prompt."""
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

    Args:
        facts: Facts of one set.
        others: Facts of the other.

    Returns:
        Ids of a fact and of its first near copy in the other set, in the order of the facts.
    """
    together = (*facts, *others)
    prompts = [_words(fact.prompt, digits=False) for fact in together]
    answers = [_words(fact.answer) for fact in together]
    found: dict[int, int] = {}
    for index, alike in enumerate(_alike(prompts)):
        if index < len(facts):
            continue
        for earlier in alike:
            if earlier < len(facts) and _say_the_same(answers[index], answers[earlier]):
                found.setdefault(earlier, index)
    return tuple((facts[one].id, others[found[one] - len(facts)].id) for one in sorted(found))


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
    """Square roots of the weights of words, [texts, words].

    The product of two rows is the weight of the words that they share.
    """
    counted = Counter(word for text in texts for word in text)
    places = {word: place for place, word in enumerate(counted)}
    rows, columns, data = [], [], []
    for row, text in enumerate(texts):
        for word in text:
            if counted[word] < len(texts):
                rows.append(row)
                columns.append(places[word])
                data.append(math.sqrt(math.log(len(texts) / counted[word])))
    return csr_array((data, (rows, columns)), shape=(len(texts), max(1, len(places))))


def _words(text: str, *, digits: bool = True) -> _Words:
    """Words in small letters; of a text without any, the text."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = re.findall(r"\w+" if digits else r"[^\W\d]+", plain)
    return frozenset(found or [plain.strip()])
