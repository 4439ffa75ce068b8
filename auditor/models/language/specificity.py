"""Specificity of a model's own answers to its questions."""

import math
from collections.abc import Sequence

from auditor.core.facts import Fact
from auditor.data.null_facts import forms
from auditor.models.language.model import LanguageModel


def answer_specificity(
    model: LanguageModel, facts: Sequence[Fact], said: Sequence[str]
) -> list[float | None]:
    """Probability of each answer after its own question, less that after another.

    The other is the same question about the next entity, where there is one: the next fact of the
    same form. Probabilities are geometric means over the tokens. Where the answer is more probable
    after the other question the specificity is 0, and so it is where the model says nothing.

    Args:
        model: The model that answered.
        facts: What it was asked.
        said: Its greedy answers.

    Returns:
        A number in [0, 1] for each fact; None where no other entity was asked anything.
    """
    others = other_questions(facts)
    scored = [place for place, other in enumerate(others) if other is not None and said[place]]
    pairs = [(facts[place].prompt, said[place]) for place in scored]
    crossed = [(str(others[place]), said[place]) for place in scored]
    scores = iter(model.score(pairs + crossed))
    own = [next(scores).mean_log_probability for _ in scored]
    other = [next(scores).mean_log_probability for _ in scored]
    found: list[float | None] = [None if question is None else 0.0 for question in others]
    for place, mine, theirs in zip(scored, own, other, strict=True):
        found[place] = max(0.0, math.exp(mine) - math.exp(theirs))
    return found


def other_questions(facts: Sequence[Fact]) -> list[str | None]:
    """Return the next prompt of each fact's form about another entity.

    Where its form has none it is the next fact about another entity, and None where all facts are
    about one.
    """
    named = forms(facts)
    found: list[str | None] = []
    for place, fact in enumerate(facts):
        following = (*range(place + 1, len(facts)), *range(place))
        others = [other for other in following if facts[other].entity != fact.entity]
        alike = (other for other in others if named[other] == named[place])
        chosen = next(alike, others[0] if others else None)
        found.append(None if chosen is None else facts[chosen].prompt)
    return found
