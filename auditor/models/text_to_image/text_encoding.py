"""Encoding of prompts for a text-to-image model's UNet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auditor.models.batching import run_batched
from auditor.models.text_to_image.parts import Parts


@dataclass(frozen=True)
class Text:
    """Encoded prompts."""

    hidden: Tensor
    """Hidden states for cross-attention, [n, length, width]."""
    pooled: Tensor | None = None
    """Pooled text of SDXL, [n, width]."""

    def rows(self, indices: list[int]) -> "Text":
        """Some of the prompts."""
        pooled = None if self.pooled is None else self.pooled[indices]
        return Text(self.hidden[indices], pooled)

    def repeated(self, count: int) -> "Text":
        """A single prompt, ``count`` times."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return Text(self.hidden.expand(count, -1, -1), pooled)

    def followed_by(self, other: "Text") -> "Text":
        """These prompts, then the others."""
        pooled = None
        if self.pooled is not None and other.pooled is not None:
            pooled = torch.cat([self.pooled, other.pooled])
        return Text(torch.cat([self.hidden, other.hidden]), pooled)

    def zeros(self) -> "Text":
        """The same shapes, all zero."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Text(torch.zeros_like(self.hidden), pooled)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Text":
        """The same on a device, in a type."""
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        return Text(self.hidden.to(device, dtype), pooled)

    def added(self, height: int, width: int) -> dict[str, Any] | None:
        """Return SDXL's added conditioning (arXiv 2307.01952).

        It is the pooled text, and the size of a whole image.
        """
        if self.pooled is None:
            return None
        size = [height, width, 0, 0, height, width]
        ids = torch.tensor([size] * len(self.pooled)).to(self.pooled)
        return {"text_embeds": self.pooled, "time_ids": ids}


def encode(parts: Parts, prompts: Sequence[str], token_budget: int) -> Text:
    """Encode prompts as Stable Diffusion or SDXL does.

    SDXL has two encoders.

    One encoder gives its last hidden state; of two, the last but one of each are joined, and the
    second's projected text is the pooled one. Prompts are padded and cut to the context.

    Args:
        parts: the pipeline's components.
        prompts: texts.
        token_budget: padded tokens in a batch.
    """
    if not prompts:
        empty = encode(parts, [""], token_budget)
        return empty.rows([])
    length = _context(parts, 0)

    def run(batch: list[int]) -> list[Text]:
        text = _encoded(parts, [prompts[i] for i in batch])
        return [text.rows([i]) for i in range(len(batch))]

    found = run_batched([length] * len(prompts), token_budget, run)
    pooled = [text.pooled for text in found if text.pooled is not None]
    return Text(torch.cat([text.hidden for text in found]), torch.cat(pooled) if pooled else None)


def _encoded(parts: Parts, prompts: list[str]) -> Text:
    two = len(parts.text_encoders) == 2
    hidden, pooled = [], None
    for number, (tokenizer, encoder) in enumerate(
        zip(parts.tokenizers, parts.text_encoders, strict=True)
    ):
        tokens = tokenizer(
            prompts,
            padding="max_length",
            max_length=_context(parts, number),
            truncation=True,
            return_tensors="pt",
        ).to(encoder.device)
        # only encoders that were trained with it say so
        attended = getattr(encoder.config, "use_attention_mask", False)
        mask = tokens["attention_mask"] if attended else None
        with torch.no_grad():  # not inference mode: attacks take gradients through the UNet
            output = encoder(tokens["input_ids"], attention_mask=mask, output_hidden_states=two)
        hidden.append(output.hidden_states[-2] if two else output.last_hidden_state)
        pooled = output.text_embeds if two and number == 1 else pooled
    return Text(torch.cat([h.to(hidden[0]) for h in hidden], dim=-1), pooled)


def _context(parts: Parts, number: int) -> int:
    """Return the tokens of a prompt that an encoder has room for.

    It is the tokenizer's length unless the encoder's is smaller.
    """
    room = int(parts.text_encoders[number].config.max_position_embeddings)
    return min(int(parts.tokenizers[number].model_max_length), room)
