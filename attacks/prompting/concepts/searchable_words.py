"""Words that a search may find."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Ids of their tokens, [words]."""
    table: Tensor
    """Their embeddings, [words, width] float32."""

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, chosen: Tensor) -> str:
        """Words by number, as text."""
        return " ".join(self.texts[i] for i in chosen.tolist())


def searchable_words(model: "TextToImage", banned: Sequence[str], places: int) -> Words:
    """Return all words of one token without a banned one.

    Raises:
        UnavailableError: there are none, the prompt has no room for so many, or two tokenizers
            disagree.
    """
    encoder = SlotEncoder(model)
    if places > encoder.room:
        raise UnavailableError(
            f"a prompt holds {encoder.room} tokens, too few for {places}; search fewer `tokens`"
        )
    tokenizers = model.parts.tokenizers
    if any(other.get_vocab() != tokenizers[0].get_vocab() for other in tokenizers[1:]):
        raise UnavailableError(
            "the two text encoders have different tokens, which cannot be searched"
        )
    texts = tokens(tokenizers[0], banned)
    if not texts:
        raise UnavailableError("the tokenizer has no whole words besides the banned ones")
    spelt = tokenizers[0](texts, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([ids[0] for ids in spelt])
    return Words(tuple(texts), ids, encoder.embeddings(ids))
