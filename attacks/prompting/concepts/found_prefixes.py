"""Assignment of searched prefixes to facts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from auditor.core.facts import Fact
from auditor.core.records import Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prefixes_for(
    facts: Sequence[Fact], tokenizer: "PreTrainedTokenizerBase", found: Record, success: float
) -> dict[str, str]:
    """Prefix of each fact: its own, or that of a related fact.

    A related fact has the same concept.

    Lent are the words that succeeded, or all where none did. Facts whose plain prompt succeeds
    have none of their own and, like those that were not searched for, borrow.

    Args:
        facts: the forget set.
        tokenizer: tokenizer of the prompts.
        found: record of the search on one arm.
        success: K from which words succeeded.
    """
    texts = tokenizer.batch_decode(found.arrays["tokens"].tolist())
    given: dict[str, str] = {}
    several: dict[str, list[tuple[float, str]]] = {}
    for row, place in enumerate(found.arrays["places"].tolist()):
        if found.arrays["searched"][row]:
            given[facts[place].id] = texts[row]
            best = float(found.arrays["knowledge"][row])
            several.setdefault(facts[place].answer, []).append((best, texts[row]))
    for concept, lent in several.items():
        choice = [text for k, text in lent if k >= success] or [text for _, text in lent]
        others = [fact for fact in facts if fact.answer == concept and fact.id not in given]
        given |= {fact.id: choice[i % len(choice)] for i, fact in enumerate(others)}
    return given
