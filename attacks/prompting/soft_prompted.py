"""A language model whose prompts carry trained vectors."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from tokenizers import AddedToken
from torch import nn

from auditor.models.causal_lm.model import CausalLM

Place = Literal["before", "after", "entity"]
"""Where the vectors are put: before or after the prompt, or where it names the entity."""


@contextmanager
def soft_prompted(model: CausalLM, vectors: torch.Tensor, place: Place) -> Iterator[CausalLM]:
    """Put vectors in place of words into a model's prompts.

    Every prompt gets them.

    Reserved tokens stand in the prompt's template; where the embedding meets them it gives the
    vectors. So the model is scored and generates as always, and every metric applies. Neither
    the weights nor the model's own tokenizer are touched.

    Args:
        model: The model that is asked.
        vectors: [m, hidden size], what the embedding gives for the m reserved tokens; gradients
            reach them.
        place: before or after the prompt, within the prompt format's template; or in the place
            of the entity, where prompts have `reserved_text`.
    """
    first, count = len(model.tokenizer), len(vectors)
    prompted = _with_reserved_tokens(model, count, place)
    asked: list[torch.Tensor] = []

    def mask_reserved_tokens(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        ids, *others = args
        asked.append(ids)
        reserved = (ids >= first) & (ids < first + count)
        return (ids.masked_fill(reserved, 0), *others)

    def insert_vectors(
        module: nn.Module, args: tuple[Any, ...], output: torch.Tensor
    ) -> torch.Tensor:
        place = asked.pop() - first
        reserved = (place >= 0) & (place < count)
        given = vectors.to(device=output.device, dtype=output.dtype)
        return torch.where(reserved.unsqueeze(-1), given[place.clamp(0, count - 1)], output)

    embedding = model.network.get_input_embeddings()
    handles = [
        embedding.register_forward_pre_hook(mask_reserved_tokens),
        embedding.register_forward_hook(insert_vectors),
    ]
    try:
        yield prompted
    finally:
        for handle in handles:
            handle.remove()


def _with_reserved_tokens(model: CausalLM, count: int, place: Place) -> CausalLM:
    """Copy of the model with reserved tokens around every prompt.

    It has a tokenizer of its own.
    """
    tokenizer = copy.deepcopy(model.tokenizer)
    names = _names(count)
    tokenizer.add_tokens([AddedToken(n, normalized=False, special=True) for n in names], True)
    prompt_format = model.prompt_format
    if place != "entity":
        reserved = reserved_text(count)
        around = "{prompt}" + reserved if place == "after" else reserved + "{prompt}"
        template = prompt_format.template.replace("{prompt}", around)
        prompt_format = prompt_format.model_copy(update={"template": template})
    prompted = model.copy_with(tokenizer=tokenizer, prompt_format=prompt_format)
    prompted.known_tokens = len(tokenizer)
    return prompted


def reserved_text(count: int, first: int = 0) -> str:
    """The text that stands for ``count`` vectors from the ``first`` on."""
    return "".join(_names(count, first))


def _names(count: int, first: int = 0) -> list[str]:
    """Names of reserved tokens."""
    return [f"<|soft-prompt-{i}|>" for i in range(first, first + count)]
