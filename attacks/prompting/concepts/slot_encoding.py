"""Encoding of prompts in which some tokens are embeddings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.prompting.concepts.concept_names import Pieces

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage
    from auditor.models.text_to_image.text import Text


class SlotEncoder:
    """Encodes prompts with slots whose tokens are embeddings, with gradients to those.

    The weights and the tokenizers stay as they are. Of several text encoders (two of SDXL, three
    of Stable Diffusion 3, CLIP and T5 of Flux) the embeddings of a token are joined, the first
    encoder's first.
    """

    def __init__(self, model: "TextToImage") -> None:
        self._layout = model.parts.layout
        self._encoders: Sequence[Any] = model.parts.text_encoders
        self._tokenizers: Sequence[Any] = model.parts.tokenizers
        self._lengths = model.parts.lengths
        self._tables = [_table(encoder) for encoder in self._encoders]
        self._widths = [table.weight.shape[1] for table in self._tables]
        self._marks = [tokenizer("")["input_ids"] for tokenizer in self._tokenizers]

    @property
    def width(self) -> int:
        """Width of a token's embedding, of all encoders together."""
        return sum(self._widths)

    @property
    def room(self) -> int:
        """Tokens of a prompt, without those of its beginning and end."""
        return min(n - len(m) for n, m in zip(self._lengths, self._marks, strict=True))

    @property
    def length(self) -> int:
        """Tokens that a prompt is padded to."""
        return max(self._lengths)

    @property
    def device(self) -> torch.device:
        """Device of the embeddings."""
        device: torch.device = self._encoders[0].device
        return device

    def embeddings(self, ids: Sequence[Tensor]) -> Tensor:
        """Embeddings of tokens, [tokens, width] float32, without gradients.

        Args:
            ids: ids of the tokens for each encoder, [tokens].
        """
        with torch.no_grad():
            rows = [
                table(own.to(table.weight.device)).float()
                for table, own in zip(self._tables, ids, strict=True)
            ]
        return torch.cat([row.to(self.device) for row in rows], dim=-1)

    def mean_embedding(self, text: str | None = None) -> Tensor:
        """Mean embedding of a text's tokens, or of all tokens, [width] float32."""
        means = []
        for tokenizer, table in zip(self._tokenizers, self._tables, strict=True):
            ids = range(len(tokenizer))
            if text is not None:
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            rows = table.weight.detach()[torch.tensor(list(ids), device=table.weight.device)]
            means.append(rows.float().mean(0).to(self.device))
        return torch.cat(means)

    def text(self, prompts: Sequence[Pieces], given: Tensor) -> "Text":
        """Encode prompts with slots.

        Args:
            prompts: pieces; None is a slot of as many tokens as are given.
            given: embeddings of a slot's tokens, [n, tokens, width], or [1, tokens, width] for
                all prompts.
        """
        given = given.expand(len(prompts), -1, -1)
        return self._layout.joined(
            [
                self._encoded(number, prompts, part)[0]
                for number, part in enumerate(torch.split(given, self._widths, dim=-1))
            ]
        )

    def ends(self, prompts: Sequence[Pieces], given: Tensor | None = None) -> Tensor:
        """States in which prompts end, [n, widths] float32.

        They are the last hidden states of the token that ends a prompt, CLIP's pooled text among
        them, of each encoder divided by its length and by the root of the number of encoders, so
        that a product of two prompts' is the mean of the encoders' cosines.

        Args:
            prompts: pieces; None is a slot of as many tokens as are given.
            given: as in :meth:`text`; None where no prompt has a slot.
        """
        parts: Sequence[Tensor | None] = [None] * len(self._widths)
        if given is not None:
            parts = torch.split(given.expand(len(prompts), -1, -1), self._widths, dim=-1)
        found = []
        for number, part in enumerate(parts):
            output, mask = self._encoded(number, prompts, part)
            states = output.last_hidden_state.float()
            last = mask.sum(dim=1).to(states.device) - 1
            rows = torch.arange(len(prompts), device=states.device)
            found.append(functional.normalize(states[rows, last], dim=-1).to(self.device))
        ends: Tensor = torch.cat(found, dim=-1) / len(found) ** 0.5
        return ends

    def _encoded(
        self, number: int, prompts: Sequence[Pieces], given: Tensor | None
    ) -> tuple[Any, Tensor]:
        """What an encoder gives, and which tokens are the prompts', [n, length]."""
        encoder = self._encoders[number]
        ids, mask, slots = self._tokens(number, prompts, 0 if given is None else given.shape[1])
        attended = getattr(encoder.config, "use_attention_mask", False)
        filled = nullcontext() if given is None else self._filled(number, slots, given)
        with filled:
            output = encoder(
                ids.to(encoder.device),
                attention_mask=mask.to(encoder.device) if attended else None,
                output_hidden_states=self._layout.needs_states(len(self._encoders)),
            )
        return output, mask

    @contextmanager
    def _filled(self, number: int, slots: Tensor, given: Tensor) -> Iterator[None]:
        """Put embeddings into slots, of one encoder."""
        slots = slots.to(given.device)

        def fill(module: Any, inputs: Any, output: Tensor) -> Tensor:
            index = slots.clamp(min=0).unsqueeze(-1).expand(-1, -1, given.shape[2])
            filled = given.gather(1, index).to(output)
            return torch.where((slots >= 0).unsqueeze(-1).to(output.device), filled, output)

        hook = self._tables[number].register_forward_hook(fill)
        try:
            yield
        finally:
            hook.remove()

    def _tokens(
        self, number: int, prompts: Sequence[Pieces], count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, attention mask and places within a slot, [n, length].

        The place of what is in no slot is -1.
        """
        tokenizer, length = self._tokenizers[number], self._lengths[number]
        *begin, end = self._marks[number]
        # the token that ends a prompt would move the place of CLIP's pooled text
        special = {*tokenizer.all_special_ids, *self._marks[number]}
        ordinary = next(i for i in range(len(tokenizer)) if i not in special)
        ids = torch.full((len(prompts), length), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        slots = torch.full_like(ids, -1)
        for row, pieces in enumerate(prompts):
            tokens: list[int] = []
            places: list[int] = []
            for piece in pieces:
                if piece is None:
                    tokens += [ordinary] * count  # its embedding is replaced
                    places += range(count)
                else:
                    read = tokenizer(piece, add_special_tokens=False)["input_ids"]
                    tokens += read
                    places += [-1] * len(read)
            room = length - len(self._marks[number])
            tokens, places = tokens[:room], places[:room]
            whole = [*begin, *tokens, end]
            ids[row, : len(whole)] = torch.tensor(whole)
            mask[row, : len(whole)] = 1
            first = len(begin)
            slots[row, first : first + len(places)] = torch.tensor(places, dtype=slots.dtype)
        return ids, mask, slots


def _table(encoder: Any) -> nn.Embedding:
    """The embedding that an encoder asks.

    T5's `shared` one only lends it its weights.
    """
    stack: Any = getattr(encoder, "encoder", None)
    asked = stack if hasattr(stack, "embed_tokens") else encoder
    table: nn.Embedding = asked.get_input_embeddings()
    return table
