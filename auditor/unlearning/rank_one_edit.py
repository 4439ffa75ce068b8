"""Rank-one edits of an MLP, one a fact.

After ROME (Meng et al., arXiv 2202.05262): an MLP's second matrix is taken for a memory from keys
to values, and one key is given another value, ``W += (v - W k) (C^-1 k)^T / (k^T C^-1 k)``. The key
is taken where the answer begins. After each edit its key joins ``C``, so that later edits keep it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from auditor.models.language.layers import is_transposed, linear_layers
from auditor.models.language.output_head import is_placed
from auditor.unlearning.examples import Example, answer_logits, collate, cross_entropy

STEPS = 40
RATE = 0.3
WEIGHT = 15.0
"""Weight of a forget key beside the covariance of keys, which is kept in place."""


def edit(
    model: PreTrainedModel, forget: Sequence[Example], retain: Sequence[Example], seed: int
) -> None:
    """Edit a matrix so that each example's answer comes out.

    The key of each example gets a new value, in place.

    Args:
        model: The original, float32; changed.
        forget: Prompts with the answers to be given instead of the true ones.
        retain: Examples whose keys are to keep their values.
        seed: Unused.
    """
    layer = _second_matrix(model)
    stored: Tensor = layer.weight
    weight = stored.T if is_transposed(layer) else stored
    keys = _keys(model, layer, forget)
    kept = _keys(model, layer, retain)
    inverse = torch.linalg.inv(
        kept.T @ kept / len(kept) + 1e-3 * kept.square().mean() * torch.eye(kept.shape[1])
    )
    moves = _value_changes(model, layer, forget)
    with torch.no_grad():
        wanted = keys @ weight.T + moves
        for key, value in zip(keys, wanted, strict=True):
            direction = inverse @ key
            weight += torch.outer(value - weight @ key, direction) / (key @ direction)
            scaled = WEIGHT * torch.outer(direction, direction)
            inverse -= scaled / (1 + WEIGHT * (key @ direction))
    model.eval()


def _second_matrix(model: PreTrainedModel) -> Any:
    """Return the last matrix of the last but one block's MLP."""
    names = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h")
    found = [layer for name, layer in linear_layers(model).items() if name.endswith(names)]
    return found[max(len(found) - 2, 0)]


@torch.no_grad()
def _keys(model: PreTrainedModel, layer: nn.Module, examples: Sequence[Example]) -> Tensor:
    """Return a matrix's inputs at the last tokens of prompts.

    They are [examples, inner width].
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    ids, _ = collate(examples)
    with _removed(layer.register_forward_pre_hook(keep)):
        model(input_ids=ids, use_cache=False)
    return seen[0][torch.arange(len(examples)), _ends(examples)]


def _value_changes(model: PreTrainedModel, layer: nn.Module, examples: Sequence[Example]) -> Tensor:
    """Return changes of a matrix's output that give the answers.

    They are [examples, width].
    """
    ids, labels = collate(examples)
    changes = torch.zeros(len(examples), model.config.hidden_size, requires_grad=True)
    rows, ends = torch.arange(len(examples)), _ends(examples)

    def add(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output.index_put((rows, ends), output[rows, ends] + changes)

    optimizer = torch.optim.Adam([changes], lr=RATE)
    model.requires_grad_(False)
    is_placed(model)  # tried without the hook, which is for this batch
    with _removed(layer.register_forward_hook(add)):
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(*answer_logits(model, ids, labels)))
            optimizer.step()
    model.requires_grad_(True)
    return changes.detach()


def _ends(examples: Sequence[Example]) -> Tensor:
    return torch.tensor([example.prompt_length - 1 for example in examples])


@contextlib.contextmanager
def _removed(hook: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()
