"""Encoding of prompts for a text-to-image model's denoiser."""

from collections.abc import Sequence

import torch

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
