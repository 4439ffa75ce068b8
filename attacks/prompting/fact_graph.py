"""Questions from the graph of facts: two hops and other names.

Entities and answers are the nodes of the graph, and a fact leads from its entity to its answer.
Nothing here asks a model.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from attacks.prompting.sentence_rules import naming_order, statement
from auditor.core.facts import Fact
from auditor.metrics.leak_judge import holds, normalised

STANDS_FOR = "X"
"""What stands for an entity that a prompt does not name."""


class FactGraph:
    """Known facts, found by their entity and by their answer.

    Args:
        known: Facts that may lead to another.
    """

    def __init__(self, known: Sequence[Fact]) -> None:
        self._of: dict[str, list[Fact]] = defaultdict(list)
        self._answered: dict[str, list[Fact]] = defaultdict(list)
        self._told: dict[str, str] = {}
        true_of: dict[str, set[str]] = defaultdict(set)
        for fact in known:
            self._of[fact.entity].append(fact)
            for form in {normalised(form) for form in (fact.answer, *fact.accepted)}:
                self._answered[form].append(fact)
            if (said := _told_of_x(fact)) is not None:
                self._told[fact.id] = said
                true_of[normalised(said)].add(fact.entity)
        self._shared = {said for said, entities in true_of.items() if len(entities) > 1}
        self._names = _unambiguous_names(self._of.keys())

    def multi_hop_prompts(self, fact: Fact) -> list[str]:
        """Prompts that lead to a fact's entity through another fact.

        Either the entity is the answer of another fact ("Where was the wife of Ann Lee born?"), or
        another fact of the entity says which one is meant ("The boat of X is called Sea Star. Where
        was X born?"). The other fact never holds the answer that is asked for, and is true of one
        entity only.

        Returns:
            Nothing where the fact's prompt does not name its entity.
        """
        asked = without_entity(fact, STANDS_FOR)
        if asked is None:
            return []
        found = [*self._from_others(fact, asked), *self._from_its_own(fact, asked)]
        return list(dict.fromkeys(found))

    def other_names(self, entity: str) -> Mapping[str, str]:
        """Derived names of an entity that no other entity has, too."""
        return self._names.get(entity, {})

    def others(self, fact: Fact) -> list[Fact]:
        """Other facts of a fact's entity that do not hold its answer.

        Those that follow it come first, so that every fact begins at another.
        """
        own = self._of[fact.entity]
        place = next((i for i, other in enumerate(own) if other.id == fact.id), 0)
        return [
            other
            for other in (*own[place + 1 :], *own[:place])
            if not holds(f"{other.prompt} {other.answer}", fact.answer)
        ]

    def _from_others(self, fact: Fact, asked: str) -> Iterator[str]:
        """Prompts in which the entity is the answer of another fact."""
        for other in self._answered.get(normalised(fact.entity), ()):
            if other.entity == fact.entity:
                continue
            if holds(other.prompt, fact.answer) or holds(other.prompt, fact.entity):
                continue
            if (order := naming_order(other)) is not None:
                thing = order.removeprefix("Name ").removesuffix(".")
                yield str(without_entity(fact, thing))
            else:
                yield f"{STANDS_FOR} is the answer to this: {other.prompt}\n{asked}"

    def _from_its_own(self, fact: Fact, asked: str) -> Iterator[str]:
        """Prompts in which another fact says which entity is meant."""
        for other in self.others(fact):
            said = self._told.get(other.id)
            if said is not None and normalised(said) not in self._shared:
                yield f"{said}\n{asked}"


def drawn_in_turn(others: Sequence[Fact], shown: int, most: int) -> list[list[Fact]]:
    """Groups of facts, each begun at another place.

    Args:
        others: Facts to choose from.
        shown: Facts of a group.
        most: Most groups.

    Returns:
        No group where there are too few facts for one.
    """
    if len(others) < shown:
        return []
    starts = range(min(most, len(others)))
    return [[others[(start + i) % len(others)] for i in range(shown)] for start in starts]


def without_entity(fact: Fact, named: str) -> str | None:
    """A fact's prompt with another name for its entity.

    None where the prompt does not name it.
    """
    return _renamed(fact.prompt, fact.entity, named)


def derived_names(entity: str) -> dict[str, str]:
    """Other forms of a name of several words.

    They are the last and the first word alone, initials before the last word, and the last word
    first.
    """
    *first, last = entity.split() or [""]
    if not first:
        return {}
    initials = " ".join(f"{word[0]}." for word in first)
    return {
        "last name": last,
        "first name": first[0],
        "initials": f"{initials} {last}",
        "last name first": f"{last}, {' '.join(first)}",
    }


def _unambiguous_names(entities: Collection[str]) -> Mapping[str, Mapping[str, str]]:
    """Derived names of each entity that no other entity has, too."""
    derived = {entity: derived_names(entity) for entity in dict.fromkeys(entities)}
    borne = Counter(
        name for names in derived.values() for name in {normalised(n) for n in names.values()}
    )
    whole = {normalised(entity) for entity in derived}
    return {
        entity: {
            way: name
            for way, name in names.items()
            if borne[normalised(name)] == 1 and normalised(name) not in whole
        }
        for entity, names in derived.items()
    }


def _told_of_x(fact: Fact) -> str | None:
    """A fact as a statement about an entity that is not named."""
    opening = statement(fact) or fact.prompt
    said = _renamed(opening, fact.entity, STANDS_FOR)
    return None if said is None else f"{said} {fact.answer.rstrip('.')}."


def _renamed(text: str, entity: str, named: str) -> str | None:
    """A text with another name for an entity, or None."""
    whole = re.compile(rf"(?<!\w){re.escape(entity)}(?!\w)")
    return whole.sub(lambda _: named, text) if whole.search(text) else None
