"""Encoding of prompts in which some tokens are embeddings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attacks.prompting.concepts.concept_names import Pieces

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage


class SlotEncoder:
    """Encodes prompts with slots whose tokens are embeddings, with gradients to those.

    The weights and the tokenizers stay as they are. Of two text encoders (SDXL) the embeddings
    of a token are joined, the first encoder's first; SDXL's pooled text has no slots.
    """

    def __init__(self, model: "TextToImage") -> None:
        self._encoders: Sequence[Any] = model.parts.text_encoders
        self._tokenizers: Sequence[Any] = model.parts.tokenizers
        self._lengths = [
            min(int(tokenizer.model_max_length), int(encoder.config.max_position_embeddings))
            for tokenizer, encoder in zip(self._tokenizers, self._encoders, strict=True)
        ]
        self._widths = [e.get_input_embeddings().weight.shape[1] for e in self._encoders]

    @property
    def width(self) -> int:
        """Width of a token's embedding."""
        return sum(self._widths)

    @property
    def room(self) -> int:
        """Tokens of a prompt, without those of its beginning and end."""
        return min(self._lengths) - 2

    @property
    def length(self) -> int:
        """Tokens that a prompt is padded to."""
        return max(self._lengths)

    @property
    def device(self) -> torch.device:
        """Device of the embeddings."""
        device: torch.device = self._encoders[0].device
        return device

    def embeddings(self, ids: Tensor) -> Tensor:
        """Embeddings of tokens, [*ids.shape, width] float32, without gradients."""
        with torch.no_grad():
            rows = [e.get_input_embeddings()(ids.to(e.device)).float() for e in self._encoders]
        return torch.cat([row.to(self.device) for row in rows], dim=-1)

    def hidden(self, prompts: Sequence[Pieces], given: Tensor) -> Tensor:
        """Hidden states for cross-attention.

        Args:
            prompts: pieces; None is a slot of as many tokens as are given.
            given: embeddings of a slot's tokens, [n, tokens, width], or [1, tokens, width] for
                all prompts.

        Returns:
            [n, length, width of cross-attention].
        """
        given = given.expand(len(prompts), -1, -1)
        found = [
            self._encoded(number, prompts, part)
            for number, part in enumerate(torch.split(given, self._widths, dim=-1))
        ]
        return torch.cat([hidden.to(found[0]) for hidden in found], dim=-1)

    def _encoded(self, number: int, prompts: Sequence[Pieces], given: Tensor) -> Tensor:
        encoder, two = self._encoders[number], len(self._encoders) == 2
        ids, mask, slots = self._tokens(number, prompts, given.shape[1])
        slots = slots.to(given.device)
        embedding = encoder.get_input_embeddings()

        def fill(module: Any, inputs: Any, output: Tensor) -> Tensor:
            index = slots.clamp(min=0).unsqueeze(-1).expand(-1, -1, given.shape[2])
            filled = given.gather(1, index).to(output)
            return torch.where((slots >= 0).unsqueeze(-1).to(output.device), filled, output)

        attended = getattr(encoder.config, "use_attention_mask", False)
        hook = embedding.register_forward_hook(fill)
        try:
            output = encoder(
                ids.to(encoder.device),
                attention_mask=mask.to(encoder.device) if attended else None,
                output_hidden_states=two,
            )
        finally:
            hook.remove()
        hidden: Tensor = output.hidden_states[-2] if two else output.last_hidden_state
        return hidden

    def _tokens(
        self, number: int, prompts: Sequence[Pieces], count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, attention mask and places within a slot, [n, length].

        The place of what is in no slot is -1.
        """
        tokenizer, length = self._tokenizers[number], self._lengths[number]
        end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
        ids = torch.full((len(prompts), length), padding)
        mask = torch.zeros_like(ids)
        slots = torch.full_like(ids, -1)
        for row, pieces in enumerate(prompts):
            tokens: list[int] = []
            places: list[int] = []
            for piece in pieces:
                if piece is None:
                    tokens += [end] * count  # any token: its embedding is replaced
                    places += range(count)
                else:
                    read = tokenizer(piece, add_special_tokens=False)["input_ids"]
                    tokens += read
                    places += [-1] * len(read)
            tokens, places = tokens[: length - 2], places[: length - 2]
            whole = [tokenizer.bos_token_id, *tokens, end]
            ids[row, : len(whole)] = torch.tensor(whole)
            mask[row, : len(whole)] = 1
            slots[row, 1 : len(places) + 1] = torch.tensor(places, dtype=slots.dtype)
        return ids, mask, slots
