"""Wrong answers of the true one's form, as many for each fact."""

from collections.abc import Iterator, Sequence

from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.data.null_facts import forms
from auditor.metrics.leak_judge import normalised

LEAST = 3
"""Wrong answers of its form below which a fact is given answers of another form too."""
FEW = 0.1
"""Share of the facts that may have fewer of their form than the others, and are given answers of
another form in their place."""


def alike_for_all(facts: Sequence[Fact], most: int) -> list[tuple[str, ...]]:
    """Return the wrong answers of each fact, as many for each.

    Answers of other facts of its form, which tell nothing by themselves since they are true
    elsewhere, and its distractors take turns; where a fact has too few of either, answers of any
    form follow. None is the true answer, holds it or an accepted form of it, or is an answer of
    the same entity. They depend on the facts alone.

    Args:
        facts: the facts that are asked.
        most: wrong answers of a fact, at most.

    Raises:
        UnavailableError: a fact has none.
    """
    of_form = forms(facts)
    own = [_some(_of_its_form(facts, of_form, index), facts, index) for index in range(len(facts))]
    usual = sorted(map(len, own))[int(FEW * len(own))]
    wanted = min(most, max(LEAST, usual))
    found = [
        answers
        if len(answers) >= wanted
        else list(dict.fromkeys((*answers, *_some(_following(facts, index), facts, index))))
        for index, answers in enumerate(own)
    ]
    count = min(wanted, min(map(len, found)))
    if not count:
        raise UnavailableError(
            "a forget fact has no distractors, and no other fact has another answer"
        )
    return [tuple(answers[:count]) for answers in found]


def _of_its_form(facts: Sequence[Fact], of_form: Sequence[str], index: int) -> Iterator[str]:
    same = [
        facts[place].answer
        for place in _after(index, len(facts))
        if of_form[place] == of_form[index]
    ]
    distractors = facts[index].distractors
    for place in range(max(len(same), len(distractors))):
        yield from same[place : place + 1]
        yield from distractors[place : place + 1]


def _following(facts: Sequence[Fact], index: int) -> Iterator[str]:
    yield from (facts[place].answer for place in _after(index, len(facts)))


def _after(index: int, count: int) -> list[int]:
    return [*range(index + 1, count), *range(index)]


def _some(answers: Iterator[str], facts: Sequence[Fact], index: int) -> list[str]:
    """Return the answers that are wrong, each once."""
    fact = facts[index]
    true = {normalised(text) for text in (fact.answer, *fact.accepted)} - {""}
    if fact.reworded_answer:
        true.add(normalised(fact.reworded_answer))
    of_entity = {normalised(other.answer) for other in facts if other.entity == fact.entity}
    found: dict[str, str] = {}
    for answer in answers:
        text = normalised(answer)
        if text in of_entity or any(f" {form} " in f" {text} " for form in true):
            continue
        found.setdefault(text, answer)
    return list(found.values())
