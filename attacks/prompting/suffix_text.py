"""Suffixes as text: allowed tokens, and what a tokenizer reads back.

An attacker sends text. A suffix counts only if its tokens, decoded and put after a prompt, are
the tokens that the model then sees.
"""

import random
from collections.abc import Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

from attacks.prompting.shared_prefix import Ids, Item
from auditor.core.errors import UnavailableError
from auditor.models.causal_lm.model import CausalLM

AllowNonAscii = bool | Literal["any"]
"""False: printable ASCII; True: printable characters of any script; ``any``: every token."""

_STARTS = 200
"""Random suffixes that are tried before the tokenizer is given up."""


def allowed_tokens(tokenizer: PreTrainedTokenizerBase, non_ascii: AllowNonAscii, rows: int) -> Ids:
    """Ids of the tokens that a suffix may hold, ascending.

    Args:
        tokenizer: The model's tokenizer.
        non_ascii: Characters that are allowed besides printable ASCII.
        rows: Rows of the model's embedding; tokens beyond have none.
    """
    everything = range(min(len(tokenizer), rows))
    if non_ascii == "any":
        return list(everything)
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    texts = tokenizer.batch_decode([[i] for i in everything], clean_up_tokenization_spaces=False)
    return [
        i
        for i, text in enumerate(texts)
        if i not in special
        and text.strip()
        and text.isprintable()
        and "\ufffd" not in text  # half a character
        and (non_ascii or text.isascii())
    ]


def suffix_text(tokenizer: PreTrainedTokenizerBase, ids: Ids) -> str:
    """Text of a suffix, which begins with a space."""
    text = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
    return text if text[:1].isspace() else f" {text}"


def survives(
    model: CausalLM, pairs: Sequence[tuple[str, str]], items: Sequence[Item], ids: Ids
) -> bool:
    """Test whether the tokenizer reads a suffix back as its tokens.

    Args:
        model: model whose tokenizer and prompt format are used.
        pairs: prompt and answer of each item.
        items: the same, cut.
        ids: the suffix.
    """
    text = suffix_text(model.tokenizer, ids)
    encoded = model.encode([(prompt + text, answer) for prompt, answer in pairs])
    return all(
        found.ids == [*item.prefix, *ids, *item.tail]
        for found, item in zip(encoded, items, strict=True)
    )


def starting_suffix(
    model: CausalLM,
    pairs: Sequence[tuple[str, str]],
    length: int,
    allowed: Ids,
    rng: random.Random,
) -> tuple[Ids, list[Item]]:
    """A random suffix that survives, and the prompts cut around it.

    Raises:
        UnavailableError: none was found; the tokenizer reads no suffix back.
    """
    for _ in range(_STARTS):
        ids = [rng.choice(allowed) for _ in range(length)]
        items = cut_around(model, pairs, ids)
        if items is not None:
            return ids, items
    raise UnavailableError(
        f"of {_STARTS} random suffixes the tokenizer read none back as it was; allow other tokens "
        "(`allow_non_ascii: true`) or a shorter suffix"
    )


def cut_around(model: CausalLM, pairs: Sequence[tuple[str, str]], ids: Ids) -> list[Item] | None:
    """Tokens before and after the suffix for each pair.

    None where the suffix cannot be found exactly once.
    """
    text = suffix_text(model.tokenizer, ids)
    items = []
    for found in model.encode([(prompt + text, answer) for prompt, answer in pairs]):
        starts = [i for i in range(len(found.ids)) if found.ids[i : i + len(ids)] == ids]
        if len(starts) != 1 or starts[0] == 0:
            return None
        end = starts[0] + len(ids)
        if found.answer[0] < end:
            return None
        answer = tuple(place - end for place in found.answer)
        items.append(Item(found.ids[: starts[0]], found.ids[end:], answer))
    return items
