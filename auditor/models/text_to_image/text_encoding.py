"""Encoding of prompts for a text-to-image model's denoiser."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from auditor.models.batching import run_batched
from auditor.models.text_to_image.parts import Parts
from auditor.models.text_to_image.text import Text, stacked


def encode(parts: Parts, prompts: Sequence[str], token_budget: int) -> Text:
    """Encode prompts as the layout's pipeline does.

    Every encoder reads the whole prompt, padded and cut to its context.

    Args:
        parts: the pipeline's components.
        prompts: texts.
        token_budget: padded tokens in a batch.
    """
    if not prompts:
        empty = encode(parts, [""], token_budget)
        return empty.rows([])

    def run(batch: list[int]) -> list[Text]:
        text = _encoded(parts, [prompts[i] for i in batch])
        return [text.rows([i]) for i in range(len(batch))]

    return stacked(run_batched([max(parts.lengths)] * len(prompts), token_budget, run))


def _encoded(parts: Parts, prompts: list[str]) -> Text:
    outputs = []
    states = parts.layout.needs_states(len(parts.text_encoders))
    for tokenizer, encoder, length in zip(
        parts.tokenizers, parts.text_encoders, parts.lengths, strict=True
    ):
        tokens = tokenizer(
            prompts,
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        ).to(encoder.device)
        # only encoders that were trained with it say so
        attended = getattr(encoder.config, "use_attention_mask", False)
        mask = tokens["attention_mask"] if attended else None
        with torch.no_grad():  # not inference mode: attacks take gradients through the denoiser
            output = encoder(tokens["input_ids"], attention_mask=mask, output_hidden_states=states)
        outputs.append(output)
    return parts.layout.joined(outputs)


class Tokens(NamedTuple):
    """Tokens of a prompt."""

    ids: Tensor
    """[length] integers, without padding."""
    words: Tensor
    """Places of those that are no marks of beginning and end."""


class PromptReader:
    """Reads prompts by their pooled text, with the first text encoder.

    Args:
        parts: the pipeline's components.
        token_budget: tokens in a batch.
    """

    def __init__(self, parts: Parts, token_budget: int) -> None:
        self._tokenizer, self._encoder = parts.tokenizers[0], parts.text_encoders[0]
        self._length, self._budget = parts.lengths[0], token_budget

    def tokens(self, prompt: str) -> Tokens:
        """Return the tokens of a prompt, cut to the encoder's context."""
        found = self._tokenizer(
            prompt, max_length=self._length, truncation=True, return_special_tokens_mask=True
        )
        words = (torch.tensor(found["special_tokens_mask"]) == 0).nonzero().flatten()
        return Tokens(torch.tensor(found["input_ids"]), words)

    def pooled(self, ids: Tensor) -> Tensor:
        """Return the pooled text of prompts of equal length.

        It is [n, width] in float32.

        Args:
            ids: [n, length].
        """

        def run(batch: list[int]) -> list[Tensor]:
            with torch.no_grad():
                output = self._encoder(ids[batch].to(self._encoder.device))
            return list(output.pooler_output.float())

        return torch.stack(run_batched([ids.shape[1]] * len(ids), self._budget, run))
