"""Sets of facts told apart by their words alone, without any model.

Facts that no model saw stand for forgotten ones only where nothing but training sets the two apart
(arXiv 2406.17975). A classifier of words that is better than chance says that they differ in
themselves. Scikit-learn has better ones; a certificate is verified where it is not installed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from auditor.core.messages import Message, message
from auditor.statistics.roc import Area, area_under_curve

if TYPE_CHECKING:
    from auditor.core.facts import Fact

LEAST_AREA = 0.65
"""AUC from which two sets are told apart, where its bound is above chance, too."""
_FOLDS = 5


def sets_told_apart(forget: Sequence["Fact"], others: Sequence["Fact"]) -> Message | None:
    """Say that a classifier of words tells two sets apart, or cannot.

    Args:
        forget: facts to forget.
        others: facts that no model saw.

    Returns:
        None where it does not. That a set has too few entities to learn from is said, too: what was
        not compared is not known to be alike.
    """
    area = blind_area(forget, others)
    if area is None:
        fewest = min(len({fact.entity for fact in side}) for side in (forget, others))
        return message("sets_not_compared", entities=fewest, needed=_FOLDS)
    if area.value < LEAST_AREA or (area.lower is not None and area.lower <= 0.5):
        return None
    return message("sets_told_apart", auc=area.value, lower=area.lower)


def blind_area(forget: Sequence["Fact"], others: Sequence["Fact"]) -> Area | None:
    """Return the AUC of a naive Bayes classifier of words.

    It reads words and pairs of words, and is cross-validated with the facts of an entity kept
    together.

    Args:
        forget: facts to forget, the positive class.
        others: facts that no model saw.

    Returns:
        None with fewer entities than folds in either set.
    """
    sides = [forget, others]
    entities = [list(dict.fromkeys(fact.entity for fact in side)) for side in sides]
    if min(map(len, entities)) < _FOLDS:
        return None
    fold = [{entity: i % _FOLDS for i, entity in enumerate(side)} for side in entities]
    words = [[Counter(_words(fact)) for fact in side] for side in sides]
    scores: list[list[float]] = [[0.0] * len(side) for side in sides]
    for held in range(_FOLDS):
        inside = [[fold[s][fact.entity] == held for fact in side] for s, side in enumerate(sides)]
        learned = [Counter[str](), Counter[str]()]
        for s in range(2):
            for counted, out in zip(words[s], inside[s], strict=True):
                if not out:
                    learned[s].update(counted)
        vocabulary = len(learned[0].keys() | learned[1].keys())
        totals = [learned[s].total() + vocabulary for s in range(2)]
        for s in range(2):
            for place, out in enumerate(inside[s]):
                if out:
                    scores[s][place] = sum(
                        count
                        * float(
                            np.log((learned[0][word] + 1) / totals[0])
                            - np.log((learned[1][word] + 1) / totals[1])
                        )
                        for word, count in words[s][place].items()
                        if word in learned[0] or word in learned[1]
                    )
    return area_under_curve(
        scores[0], scores[1], [f.entity for f in forget], [f.entity for f in others]
    )


def _words(fact: "Fact") -> Iterator[str]:
    text = f"{fact.prompt} {fact.answer}".casefold()
    found = "".join(letter if letter.isalnum() else " " for letter in text).split()
    yield from found
    yield from (f"{first} {second}" for first, second in pairwise(found))
