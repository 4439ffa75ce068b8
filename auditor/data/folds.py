"""Splits of facts into those searched and those measured.

An attack searches or trains on some facts and is measured on the others.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from auditor.core.facts import Fact
from auditor.core.hashing import digest

SplitBy = Literal["attribute", "entity", "half"]
"""Unit of a split. `attribute`: every entity has facts on both sides. `entity`: no entity has.
`half`: the facts are dealt out whatever their entities, in an order that nobody chose."""

LEAST_SHARE = 0.5
"""Share of an even part that each part must hold: an attack that is given one fact and asked all
others shows nothing."""


@dataclass(frozen=True)
class Fold:
    """One side of a split.

    It has the facts that the attacker is given, and those that are asked.
    """

    given: tuple[Fact, ...]
    asked: tuple[Fact, ...]


def names_entities(facts: Sequence[Fact]) -> bool:
    """Return whether any entity has more than one fact."""
    return len({fact.entity for fact in facts}) < len(facts)


def folds(facts: Sequence[Fact], by: SplitBy, count: int = 2) -> tuple[Fold, ...]:
    """Split facts into ``count`` parts, each asked once.

    While a part is asked, the others are given.

    Every fact is asked in exactly one fold, so an attack with held-out facts still measures all
    of them (cross-fitting). The split depends on the order of the facts alone: the n-th fact of
    an entity (by attribute), or the n-th entity (by entity), goes to part n modulo ``count``.
    Where all entities list the same attributes in one order, a part holds the same attributes
    of everybody. By half, the n-th fact in the order of the digests of their texts goes there, so
    that no order of rows can keep what belongs together on one side.

    Raises:
        ValueError: there are fewer than ``count`` entities (by entity), no entity has ``count``
            facts (by attribute), or a part would hold less than half of an even one.
    """
    part: dict[str, int] = {}
    if by == "attribute":
        seen: dict[str, int] = defaultdict(int)
        for fact in facts:
            part[fact.id] = seen[fact.entity] % count
            seen[fact.entity] += 1
    elif by == "half":
        dealt = sorted(facts, key=lambda fact: digest([fact.prompt, fact.answer, fact.id]))
        part = {fact.id: index % count for index, fact in enumerate(dealt)}
    else:
        order = {s: i for i, s in enumerate(dict.fromkeys(fact.entity for fact in facts))}
        part = {fact.id: order[fact.entity] % count for fact in facts}
    if len(set(part.values())) < count:
        raise ValueError(
            f"the facts cannot be split by {by} into {count} parts: "
            + ("no entity has enough facts" if by == "attribute" else "there are too few entities")
        )
    sizes = Counter(part.values())
    if min(sizes.values()) < LEAST_SHARE * len(facts) / count:
        raise ValueError(
            f"a split by {by} would be uneven: its parts hold "
            f"{', '.join(str(sizes[index]) for index in range(count))} facts"
        )
    return tuple(
        Fold(
            given=tuple(f for f in facts if part[f.id] != index),
            asked=tuple(f for f in facts if part[f.id] == index),
        )
        for index in range(count)
    )
