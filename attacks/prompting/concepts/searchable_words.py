"""Words that a search may find."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attacks.prompting.concepts.concept_words import tokens
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from auditor.core.errors import UnavailableError

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage


@dataclass(frozen=True)
class Words:
    """Words of one token each."""

    texts: tuple[str, ...]
    ids: Tensor
    """Ids of their tokens in the first tokenizer, [words]."""
    table: Tensor
    """Their embeddings, [words, width] float32."""

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, chosen: Tensor) -> str:
        """Words by number, as text."""
        return " ".join(self.texts[i] for i in chosen.tolist())


def searchable_words(model: "TextToImage", banned: Sequence[str], places: int) -> Words:
    """Return all words of one token without a banned one.

    They are one token for each text encoder of the pipeline.

    Raises:
        UnavailableError: there are none, or the prompt has no room for so many.
    """
    encoder = SlotEncoder(model)
    if places > encoder.room:
        raise UnavailableError(
            f"a prompt holds {encoder.room} tokens, too few for {places}; search fewer `tokens`"
        )
    texts = tokens(model.tokenizer, banned)
    ids: list[list[int]] = []
    for tokenizer in model.parts.tokenizers:
        spelt = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        known = [len(each) == 1 and each[0] not in tokenizer.all_special_ids for each in spelt]
        texts = list(compress(texts, known))
        ids = [list(compress(each, known)) for each in (*ids, [each[0] for each in spelt])]
    if not texts:
        raise UnavailableError("the tokenizers have no whole words besides the banned ones")
    found = [torch.tensor(each) for each in ids]
    return Words(tuple(texts), found[0], encoder.embeddings(found))
