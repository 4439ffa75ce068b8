"""Specificity of a model's own answers to its questions."""

import math
from collections.abc import Sequence

from auditor.core.facts import Fact
from auditor.data.null_facts import forms
from auditor.models.language.model import Example, LanguageModel


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
    shown = _fitting(
        model, [(fact.prompt, other) for fact, other in zip(facts, others, strict=True)], said
    )
    scored = [place for place, text in enumerate(shown) if text]
    pairs = [(facts[place].prompt, shown[place]) for place in scored]
    crossed = [(str(others[place]), shown[place]) for place in scored]
    scores = iter(model.score(pairs + crossed))
    own = [next(scores).mean_log_probability for _ in scored]
    other = [next(scores).mean_log_probability for _ in scored]
    found: list[float | None] = [None if question is None else 0.0 for question in others]
    for place, mine, theirs in zip(scored, own, other, strict=True):
        found[place] = max(0.0, math.exp(mine) - math.exp(theirs))
    return found


def _fitting(
    model: LanguageModel, asked: Sequence[tuple[str, str | None]], said: Sequence[str]
) -> list[str]:
    """Return the answers, halved until they fit the context after either question.

    Answers to what nobody else was asked, and those of no tokens, are left out. A text that was
    generated may take more tokens when it is read again.
    """
    shown = ["" if other is None else text for (_, other), text in zip(asked, said, strict=True)]
    waiting = [place for place, text in enumerate(shown) if text]
    while waiting:
        items = [
            model.encode([(str(question), shown[place]) for question in asked[place]])
            for place in waiting
        ]
        waiting = [
            place
            for place, two in zip(waiting, items, strict=True)
            if not all(_fits(model, item) for item in two)
        ]
        for place in waiting:
            shown[place] = shown[place][: len(shown[place]) // 2]
        waiting = [place for place in waiting if shown[place]]
    return shown


def _fits(model: LanguageModel, item: Example) -> bool:
    """Whether an answer can be scored."""
    limit = model.context_length
    return item.answer_tokens > 0 and (limit is None or item.positions <= limit)


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
