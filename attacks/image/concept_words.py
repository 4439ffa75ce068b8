"""The words by which prompts name a concept, and the same prompts without them."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from auditor.data.fact import Fact

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Without = Literal["nothing", "distractor"]
"""What stands in a concept's place: nothing, or another concept."""

LEAST_PART = 3
"""Letters from which a banned word also bans the tokens that hold it."""


def names(fact: Fact) -> tuple[str, ...]:
    """The concept's name, and what the paraphrases say where the prompt says the name.

    A paraphrase that changes more than one stretch of words counts only if the name is in what
    lies between the first and the last change, and then all of that.
    """
    found = [fact.answer.lower()]
    prompt = fact.prompt.lower().split()
    for paraphrase in fact.paraphrases:
        own, other = _changed(prompt, paraphrase.lower().split())
        if _pattern([fact.answer]).search(own) and other:
            found.append(other)
    return tuple(dict.fromkeys(found))


def _changed(one: Sequence[str], other: Sequence[str]) -> tuple[str, str]:
    """What lies between the words that both begin with and those that both end with."""
    shorter = min(len(one), len(other))
    start = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    room = shorter - start
    end = next((i for i in range(room) if one[-1 - i] != other[-1 - i]), room)
    return " ".join(one[start : len(one) - end]), " ".join(other[start : len(other) - end])


def pairs(facts: Sequence[Fact], without: Without) -> Iterator[tuple[str, str]]:
    """Prompts and paraphrases that name the concept, each with the same text without it.

    Args:
        facts: of one concept.
        without: what stands in the concept's place; distractors take turns from fact to fact.
    """
    named = _pattern([name for fact in facts for name in names(fact)])
    for number, fact in enumerate(facts):
        put = ""
        if without == "distractor":
            if not fact.distractors:
                continue
            put = fact.distractors[number % len(fact.distractors)]
        for text in (fact.prompt, *fact.paraphrases):
            parts = named.split(text)
            if len(parts) > 1:
                yield text, " ".join(put.join(parts).split())


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Matches any of the words, whole; the longest first."""
    longest = sorted(set(words), key=lambda word: (-len(word), word))
    return re.compile("|".join(rf"(?<!\w){re.escape(w)}(?!\w)" for w in longest), re.IGNORECASE)


def tokens(tokenizer: "PreTrainedTokenizerBase", banned: Sequence[str]) -> list[str]:
    """Words that are one token each, in any company, and hold none of the banned ones.

    Args:
        tokenizer: of the prompts.
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
