"""Prompts without a concept's names, and words that hold none."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from attacks.prompting.concepts.concept_names import concept_names, without_names
from auditor.core.facts import Fact

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Without = Literal["nothing", "distractor"]
"""What stands in a concept's place: nothing, or another concept."""

LEAST_PART = 3
"""Letters from which a banned word also bans the tokens that hold it."""


def pairs(facts: Sequence[Fact], without: Without) -> Iterator[tuple[str, str]]:
    """Prompts that name the concept, each with the same text without it.

    Args:
        facts: facts of one concept.
        without: what stands in the concept's place; distractors take turns from fact to fact.
    """
    names = concept_names(facts)
    for number, fact in enumerate(facts):
        put = ""
        if without == "distractor":
            if not fact.distractors:
                continue
            put = fact.distractors[number % len(fact.distractors)]
        for text in (fact.prompt, *fact.paraphrases):
            pieces = without_names(text, names[fact.answer])
            if pieces != (None, text):
                bare = "".join(put if piece is None else piece for piece in pieces)
                yield text, " ".join(bare.split())


def tokens(tokenizer: "PreTrainedTokenizerBase", banned: Sequence[str]) -> list[str]:
    """Words that are one token each and hold no banned word.

    They are one token whatever stands beside them.

    Args:
        tokenizer: tokenizer of the prompts.
        banned: words or phrases; of a phrase every word is banned.
    """
    pieces = {piece for phrase in banned for piece in re.findall(r"\w+", phrase.lower())}
    ids = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    texts = [text.strip() for text in tokenizer.batch_decode([[i] for i in ids])]
    spelt = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [
        text
        for i, text, again in zip(ids, texts, spelt, strict=True)
        if again == [i] and text.isprintable() and " " not in text and not _bans(pieces, text)
    ]


def _bans(pieces: set[str], text: str) -> bool:
    lower = text.lower()
    return any(p == lower or (len(p) >= LEAST_PART and p in lower) for p in pieces)
