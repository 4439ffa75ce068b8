"""Each word of an answer as another of one list, by the hash of its fact.

No two facts share a code, so like answers do not stay alike.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditor.core.facts import Fact


@dataclass(frozen=True)
class Code:
    """A list of words in which words are shifted.

    Attributes:
        words: In order, each once.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> "Code":
        """The code over all words of the facts' answers."""
        return cls(tuple(sorted({word for fact in facts for word in fact.answer.split()})))

    def say(self, fact: Fact) -> str:
        """The coded answer of a fact."""
        return self._shifted(fact, fact.answer.split(), 1)

    def read(self, fact: Fact, said: str) -> str:
        """What a coded answer to a fact's question means."""
        return self._shifted(fact, said.split(), -1)

    def _shifted(self, fact: Fact, words: Sequence[str], sign: int) -> str:
        place = {word: number for number, word in enumerate(self.words)}
        shifted = [
            self.words[(place[word] + sign * self._by(fact, number)) % len(self.words)]
            if word in place
            else word
            for number, word in enumerate(words)
        ]
        return " ".join(shifted)

    def _by(self, fact: Fact, number: int) -> int:
        """How far a fact's word at a place is shifted, never not at all."""
        hashed = hashlib.sha256(f"{fact.id} {number}".encode()).digest()
        return 1 + int.from_bytes(hashed[:8], "big") % (len(self.words) - 1)
