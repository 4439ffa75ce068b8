"""Facts that stand for what a model does not know."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

from auditor.core.arms import Arm, World
from auditor.core.baselines import Baseline
from auditor.core.facts import Fact, FactSets

_WORD = re.compile(r"\w+")


def worlds(sets: FactSets, baseline: Baseline) -> dict[World, FactSets]:
    """Return the facts asked in the place of the forget set.

    They follow from the sets alone. Attacks get them as their forget set, so that they search and
    teach among them as among the facts to forget.

    Args:
        sets: sets of the audit.
        baseline: baseline of the audit.

    Returns:
        World to its sets; empty where other models are the baseline.
    """
    if baseline is Baseline.NEVER_SEEN_FACTS:
        return {"null": FactSets(forget=sets.holdout, retain=sets.retain)}
    if baseline is not Baseline.OWN_NULL:
        return {}
    found: dict[World, FactSets] = {
        "null": FactSets(forget=permuted(sets.forget), retain=sets.retain)
    }
    if sets.holdout:
        found["check"] = FactSets(forget=sets.holdout, retain=sets.retain)
        found["check-null"] = FactSets(forget=permuted(sets.holdout), retain=sets.retain)
    return found


def permuted(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Exchange the answers among facts of one form.

    Each fact gets the next different answer of its form; one whose form has no other answer gets
    one of the whole set.

    Args:
        facts: facts in any order.

    Raises:
        ValueError: all answers are alike.
    """
    by_form: dict[str, list[Fact]] = defaultdict(list)
    for fact, form in zip(facts, forms(facts), strict=True):
        by_form[form].append(fact)
    donors: dict[str, Fact] = {}
    for group in by_form.values():
        for place, fact in enumerate(group):
            donor = _next(group, place) or _next(facts, facts.index(fact))
            if donor is None:
                raise ValueError("all answers are alike, so none can be exchanged for another")
            donors[fact.id] = donor
    return tuple(_answered(fact, donors[fact.id]) for fact in facts)


def _next(group: Sequence[Fact], place: int) -> Fact | None:
    answer = group[place].answer
    following = (*group[place + 1 :], *group[:place])
    return next((fact for fact in following if fact.answer != answer), None)


def _answered(fact: Fact, donor: Fact) -> Fact:
    """The fact with the answer of another."""
    wrong = dict.fromkeys((*fact.distractors, fact.answer)) if fact.distractors else {}
    return fact.model_copy(
        update={
            "answer": donor.answer,
            "accepted": donor.accepted,
            "distractors": tuple(text for text in wrong if text != donor.answer),
            "text": None,
        }
    )


def forms(facts: Sequence[Fact]) -> list[str]:
    """Return each fact's prompt without the words of its entity."""
    return [_form(fact) for fact in facts]


def _form(fact: Fact) -> str:
    named = set(_WORD.findall(fact.entity.casefold()))
    words = _WORD.findall(fact.prompt.casefold())
    return " ".join("" if word in named else word for word in words)


def asked(known: Collection[World], models: Sequence[Arm]) -> list[tuple[World, Arm]]:
    """Return which models are asked the facts of which world.

    Args:
        known: worlds besides the forget set.
        models: all models.

    Returns:
        Of the null all of them are asked, of facts by which it is checked the unlearned one.
    """
    return [
        (world, model)
        for world in known
        for model in models
        if world == "null" or model == Arm.UNLEARNED
    ]
