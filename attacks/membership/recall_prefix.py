"""ReCaLL's prefix: a few texts that no model has seen (arXiv 2406.15968)."""

from attacks.membership.scored_texts import LEAST_HOLDOUT, ScoredTexts
from auditor.core.facts import Fact, FactSets


class RecallPrefix:
    """Prefix of unseen facts: one of each of the last holdout entities.

    Args:
        texts: what is scored.
        sets: sets of the audit.
        shots: facts in the prefix.
    """

    def __init__(self, texts: ScoredTexts, sets: FactSets, shots: int) -> None:
        first: dict[str, Fact] = {}
        for fact in sets.holdout:
            first.setdefault(fact.entity, fact)
        chosen = list(first.values())[-shots:]
        self._shots = shots
        self.facts = tuple(fact.id for fact in chosen)
        self.models = frozenset(fact.entity for fact in chosen)
        self.text = "".join(f"{texts.whole(fact)}\n" for fact in chosen)
        self._left = sum(fact.entity not in self.models for fact in sets.holdout)

    def unavailable(self) -> str | None:
        """Reason for which there is no such prefix, or None."""
        if len(self.facts) == self._shots and self._left >= LEAST_HOLDOUT:
            return None
        return (
            f"a prefix of {self._shots} holdout facts, each of another entity, would leave "
            f"{self._left} holdout facts of other entities, and {LEAST_HOLDOUT} are needed; "
            "give fewer `shots` or a larger holdout set"
        )
