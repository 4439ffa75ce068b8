"""The greedy coordinate gradient as it is first written down, to measure the other against.

Zou et al., arXiv 2307.15043, Algorithm 2, with nothing spared: every candidate goes through the
model with the whole prompt, on every prompt, and gives logits at every position; candidates
repeat, and need not survive as text. The search goes on from the best candidate of a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from attacks.prompting.shared_prefix import Item


@dataclass(frozen=True)
class Plain:
    """The best suffix of one search."""

    ids: list[int]
    loss: float
    """Mean over the prompts, in nats per answer token."""
    evaluated: int


def plain_gcg(
    model: nn.Module,
    items: Sequence[Item],
    ids: list[int],
    allowed: Sequence[int],
    steps: int,
    candidates: int,
    top_k: int,
    seed: int,
) -> Plain:
    """Search from a given suffix; returns the best one that was met."""
    draws = torch.Generator().manual_seed(seed)
    refused = torch.ones(model.get_input_embeddings().weight.shape[0], dtype=torch.bool)
    refused[torch.tensor(allowed)] = False
    suffix = torch.tensor(ids)
    best, best_loss = suffix, float(_losses(model, items, suffix[None]).mean())
    for _ in range(steps):
        gradient = _gradient(model, items, suffix).masked_fill(refused, torch.inf)
        top = (-gradient).topk(top_k, dim=1).indices
        drawn = suffix.repeat(candidates, 1)
        places = torch.randint(len(suffix), (candidates,), generator=draws)
        tokens = torch.randint(top_k, (candidates,), generator=draws)
        drawn[torch.arange(candidates), places] = top[places, tokens]
        losses = _losses(model, items, drawn)
        suffix = drawn[losses.argmin()]
        if losses.min() < best_loss:
            best, best_loss = suffix, float(losses.min())
    return Plain(best.tolist(), best_loss, steps * candidates)


@torch.no_grad()
def _losses(model: nn.Module, items: Sequence[Item], suffixes: torch.Tensor) -> torch.Tensor:
    """Mean loss of each suffix over all prompts, a prompt at a time."""
    found = []
    for item in items:
        count = len(suffixes)
        before = torch.tensor(item.prefix).expand(count, -1)
        after = torch.tensor(item.tail).expand(count, -1)
        ids = torch.cat([before, suffixes, after], 1)
        logits = model(input_ids=ids, use_cache=False).logits
        found.append(_answer_loss(logits, ids, item, suffixes.shape[1]))
    return torch.stack(found).mean(0)


def _gradient(model: nn.Module, items: Sequence[Item], suffix: torch.Tensor) -> torch.Tensor:
    """Gradient of the mean loss by one-hot tokens, a prompt at a time."""
    table = model.get_input_embeddings().weight.detach()
    total = torch.zeros(len(suffix), table.shape[0])
    for item in items:
        ids = torch.cat([torch.tensor(item.prefix), suffix, torch.tensor(item.tail)])[None]
        hot = one_hot(suffix, table.shape[0]).to(table.dtype).requires_grad_()
        start, end = len(item.prefix), len(item.prefix) + len(suffix)
        fixed = table[ids[0]]
        embedded = torch.cat([fixed[:start], hot @ table, fixed[end:]])[None]
        logits = model(inputs_embeds=embedded, use_cache=False).logits
        (found,) = torch.autograd.grad(_answer_loss(logits, ids, item, len(suffix)).sum(), hot)
        total += found / len(items)
    return total


def _answer_loss(logits: torch.Tensor, ids: torch.Tensor, item: Item, length: int) -> torch.Tensor:
    places = torch.tensor([len(item.prefix) + length + t for t in item.answer])
    each = cross_entropy(logits[:, places - 1].transpose(1, 2), ids[:, places], reduction="none")
    return each.mean(1)
