"""Conditions between the sets that must hold before anything runs."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets
from auditor.core.messages import Message, message

LONG = 60
"""Least characters of an answer or passage that no two facts share by chance."""
MINIMUM_OVERLAP = 20
"""Least characters of an answer or passage whose occurrence in another text means something."""

_SHOWN = 5
"""Most problems of one kind that a message names."""


def check_contradictions(sets: FactSets, *, prompts_repeat: bool = False) -> None:
    """Refuse sets that cannot be audited.

    Args:
        sets: sets of the audit.
        prompts_repeat: the same prompt may be asked under several ids, because each id is another
            seed.

    Raises:
        AuditorError: ids or facts occur twice, or a fact stands in two sets; the first of each kind
            are named, and how many there are.
    """
    repeated = () if prompts_repeat else _repeated_facts(sets)
    kinds = [list(found) for found in (_repeated_ids(sets), repeated, _shared_facts(sets))]
    if count := sum(map(len, kinds)):
        lines = [line for found in kinds for line in _first(found)]
        raise AuditorError(f"{count} contradiction(s) in the data:\n  " + "\n  ".join(lines))


def _first(found: Sequence[str]) -> Iterator[str]:
    """Yield the first of several problems, and how many follow."""
    yield from found[:_SHOWN]
    if len(found) > _SHOWN:
        yield f"… and {len(found) - _SHOWN:,} more like these"


def warnings(sets: FactSets, *, prompts_repeat: bool = False) -> list[Message]:
    """Return messages on what may weaken an audit.

    They are for its certificate.

    Args:
        sets: sets of the audit.
        prompts_repeat: each fact is a prompt with a seed of its own, and many share one answer.
    """
    found = []
    facts = () if prompts_repeat else sets.forget
    same = Counter((_normal(f.entity), _normal(f.answer)) for f in facts)
    if repeated := sum(n - 1 for n in same.values()):
        found.append(message("facts_share_answers", facts=repeated))
    found += _told_by_themselves(facts)
    if not sets.retain:
        found.append(message("no_retain_set"))
    if sets.holdout and {f.entity for f in sets.holdout} & {f.entity for f in sets.forget}:
        found.append(message("holdout_shares_entities"))
    return found


def _told_by_themselves(facts: Sequence[Fact]) -> Iterator[Message]:
    """Yield facts that give answers away, or have no right one."""
    if ids := [fact.id for fact in facts if gives_away(fact)]:
        yield message("answers_in_prompts", quoted=("ids",), facts=len(ids), ids=ids[:_SHOWN])
    asked = defaultdict(set)
    for fact in facts:
        asked[_normal(fact.prompt)].add(_normal(fact.answer))
    if count := sum(len(answers) > 1 for answers in asked.values()):
        yield message("prompts_with_two_answers", prompts=count)
    if ids := [fact.id for fact in facts if _right_among_wrong(fact)]:
        yield message(
            "answers_among_distractors", quoted=("ids",), facts=len(ids), ids=ids[:_SHOWN]
        )


def gives_away(fact: Fact) -> bool:
    """Return whether a prompt of a fact holds its answer."""
    answers = [f" {text} " for form in (fact.answer, *fact.accepted) if (text := _words(form))]
    prompts = [f" {_words(prompt)} " for prompt in (fact.prompt, *fact.paraphrases)]
    return any(answer in prompt for answer in answers for prompt in prompts)


def _right_among_wrong(fact: Fact) -> bool:
    """Whether a distractor is the true answer, or another form of it."""
    right = {_normal(text) for text in (fact.answer, *fact.accepted)}
    return any(_normal(text) in right for text in fact.distractors)


def forget_text_within(sets: FactSets, texts: Iterable[str]) -> list[str]:
    """Return ids of forget facts whose text occurs in ``texts``.

    The texts may be a quantizer's calibration set.

    A quantizer that is calibrated on what should be forgotten measures something else.
    """
    haystack = "\n".join(_words(text) for text in texts)
    return [fact.id for fact in sets.forget if any(n in haystack for n in _needles(fact))]


def texts_across(facts: Sequence[Fact], others: Sequence[Fact]) -> tuple[tuple[str, str], ...]:
    """Find facts whose text tells a fact of another set.

    It tells one where it holds its prompt with its answer, or a long answer or passage of it.

    Args:
        facts: Facts of one set.
        others: Facts of the other.

    Returns:
        Ids of a fact and of the first fact of the other set that it tells.
    """
    told = [_words(" ".join((fact.prompt, fact.answer, fact.text or ""))) for fact in facts]
    together = "\n".join(told)
    found: dict[str, str] = {}
    for other in others:
        long = (text for text in map(_words, (other.answer, other.text or "")) if len(text) >= LONG)
        for needle in (f"{_words(other.prompt)} {_words(other.answer)}", *long):
            if needle in together:
                within = (fact.id for fact, text in zip(facts, told, strict=True) if needle in text)
                found |= {name: found.get(name, other.id) for name in within}
    return tuple(found.items())


def _needles(fact: Fact) -> Iterator[str]:
    yield f"{_words(fact.prompt)} {_words(fact.answer)}"
    for text in (fact.prompt, fact.answer, fact.text or ""):
        if len(_words(text)) >= MINIMUM_OVERLAP:
            yield _words(text)


def _repeated_ids(sets: FactSets) -> Iterator[str]:
    places = defaultdict(list)
    for name in FactSets.model_fields:
        for fact in getattr(sets, name):
            places[fact.id].append(name)
    for fact_id, names in places.items():
        if len(names) > 1:
            yield f"the id {fact_id!r} occurs {len(names)} times ({', '.join(names)})"


def _repeated_facts(sets: FactSets) -> Iterator[str]:
    """Facts that would count twice; the statistics rest on their counting once."""
    for name in FactSets.model_fields:
        first: dict[tuple[str, str], str] = {}
        for fact in getattr(sets, name):
            held = first.setdefault(identity(fact), fact.id)
            if held != fact.id:
                yield f"{name} fact {fact.id!r} asks and answers the same as {held!r}"


def identity(fact: Fact) -> tuple[str, str]:
    """Return what two facts share that ask and answer the same."""
    return _words(fact.prompt), _normal(fact.answer)


def _words(text: str) -> str:
    """The text without punctuation, which makes no other question of it."""
    return " ".join(re.sub(r"[^\w\s]", " ", _normal(text)).split())


def _shared_facts(sets: FactSets) -> Iterator[str]:
    """Facts in two sets.

    What stays, or must go, was seen by some model, so that no holdout fact may be among it.
    """
    for one, other in (("forget", "retain"), ("forget", "holdout"), ("retain", "holdout")):
        there = {identity(fact): fact.id for fact in getattr(sets, one)}
        for fact in getattr(sets, other):
            twin = there.get(identity(fact))
            if twin is not None:
                yield f"{one} fact {twin!r} stands in the {other} set too, as {fact.id!r}"


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()
