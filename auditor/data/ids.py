"""Ids of facts, which differ within an audit.

Files that were written apart often count their rows from 0.
"""

from collections.abc import Mapping

from auditor.core.facts import Fact, SetName
from auditor.core.messages import Message, message

Facts = dict[SetName, tuple[Fact, ...]]


def named_apart(sets: Mapping[SetName, tuple[Fact, ...]]) -> tuple[Facts, list[Message]]:
    """Return sets of facts of which no two share an id.

    A set that has ids of one before it gets its own name before all of its ids. Ids that occur
    twice in one set are left for the checks to refuse.

    Args:
        sets: The facts by set, the forget set first.

    Returns:
        The facts, and a note on each set that was renamed.
    """
    found: Facts = {}
    notes: list[Message] = []
    taken: set[str] = set()
    for name, facts in sets.items():
        shared = taken & {fact.id for fact in facts}
        found[name] = tuple(_named(fact, name) for fact in facts) if shared else facts
        if shared:
            notes.append(message("ids_named_apart", of=name, ids=len(shared)))
        taken |= {fact.id for fact in found[name]}
    return found, notes


def _named(fact: Fact, name: SetName) -> Fact:
    """The fact with the name of its set before its id."""
    own = f"{name}-{fact.id}"
    alone = {"entity": own} if fact.entity == fact.id else {}
    return fact.model_copy(update={"id": own, **alone})
