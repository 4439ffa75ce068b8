"""Losses and gradients of suffixes over a cached prompt.

A searched suffix stands between a prompt and its answer. The keys and values of the prompt do
not depend on what follows, so they are computed once a search; each candidate costs the tokens of
the suffix and of what comes after it.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import DynamicCache, DynamicLayer

from auditor.core.errors import MeasurementError, UnavailableError
from auditor.models.batching import run_batched
from auditor.models.causal_lm.model import CausalLM
from auditor.models.devices import input_device
from auditor.models.language.output_head import logits_at

Ids = list[int]

_PART = 4096
"""Embeddings that are taken at a time."""
_CPU_BATCH = 1024
"""Tokens in a batch at most on a CPU, whose caches larger ones outgrow."""


@dataclass(frozen=True)
class Item:
    """One prompt with its answer, cut where the suffix goes."""

    prefix: Ids
    """Token ids before the suffix, at least one."""
    tail: Ids
    """Token ids after it: the end of the template, the separator, the answer."""
    answer: tuple[int, ...]
    """Positions in ``tail`` that belong to the answer."""


class SharedPrefix:
    """Items of one search, with cached keys and values of their prefixes.

    The prefixes are padded on the left, so that all suffixes begin at one place; padding is
    masked, and positions are counted without it.
    """

    def __init__(self, model: CausalLM, items: Sequence[Item], length: int) -> None:
        """Run every prefix through the model once.

        Args:
            model: model whose losses are asked.
            items: prompts with answers.
            length: tokens of a suffix.

        Raises:
            UnavailableError: the items do not fit into the context, or the model keeps no keys and
                values that could be shared.
        """
        self.model = model
        self.items = tuple(items)
        self.length = length
        self._embed = model.network.get_input_embeddings()
        self._device = input_device(model.network)
        budget = model.token_budget
        self._budget = min(budget, _CPU_BATCH) if self._device.type == "cpu" else budget
        self._check_overlong()
        self._keyword = _cache_keyword(model.network)
        self._prefixes, self._prefix_mask = _padded([i.prefix for i in items], left=True)
        self._tails, self._tail_mask = _padded([i.tail for i in items], left=False)
        self._first = self._prefix_mask.sum(1, keepdim=True)
        self._kept = self._run_prefixes()

    def losses(self, suffixes: Sequence[Ids], items: Sequence[int]) -> torch.Tensor:
        """Cross-entropy per answer token, in nats, of every suffix before every item.

        Args:
            suffixes: C suffixes of ``length`` tokens.
            items: indices of I items.

        Returns:
            [C, I], float64, on the CPU; the mean over the items is the loss of a suffix.

        Raises:
            MeasurementError: a loss is not finite.
        """
        candidates = torch.tensor(suffixes)
        count = len(items)

        def run(batch: list[int]) -> list[float]:
            rows = torch.tensor([items[b % count] for b in batch])
            tails = self._tails[rows, : self._longest(rows)]
            ids = torch.cat([candidates[[b // count for b in batch]], tails], 1)
            with torch.inference_mode():
                found = self._loss(rows, input_ids=ids.to(self._device))
            self.model.meter.forward_tokens += ids.numel()
            return found.double().tolist()

        lengths = [self.length + len(self.items[i].tail) for _ in suffixes for i in items]
        found = torch.tensor(run_batched(lengths, self._budget, run), dtype=torch.float64)
        if not torch.isfinite(found).all():
            raise MeasurementError("the loss of a suffix is not finite")
        return found.view(len(suffixes), count)

    def gradient(self, suffix: Ids, items: Sequence[int]) -> torch.Tensor:
        """Gradient of the mean loss by the suffix's one-hot vectors.

        The embedding of a one-hot vector is linear in it, so the gradient by the entry of token v
        is the inner product of v's embedding with the gradient by the embedding.

        Args:
            suffix: token ids.
            items: indices of the items whose loss counts.

        Returns:
            [length, vocabulary], float32, on the CPU.
        """
        with torch.no_grad():
            own = self._embed(torch.tensor(suffix, device=self._device))

        def run(batch: list[int]) -> list[torch.Tensor]:
            rows = torch.tensor([items[b] for b in batch])
            with torch.no_grad():
                tails = self._embed(self._tails[rows, : self._longest(rows)].to(self._device))
            searched = own.expand(len(batch), *own.shape).clone().requires_grad_()
            with torch.enable_grad():
                vectors = torch.cat([searched, tails], 1)
                loss = self._loss(rows, inputs_embeds=vectors).sum()
                (found,) = torch.autograd.grad(loss, searched)
            self.model.meter.forward_tokens += 3 * vectors.shape[0] * vectors.shape[1]
            return list(found.float())

        lengths = [self.length + len(self.items[i].tail) for i in items]
        found = run_batched(lengths, self._budget, run)
        mean = torch.stack(found).mean(0)
        if not torch.isfinite(mean).all():
            raise MeasurementError("the gradient of a suffix is not finite")
        every = torch.arange(len(self._embed.weight), device=self._device)
        with torch.no_grad():
            parts = [(mean @ self._embed(ids).float().T).cpu() for ids in torch.split(every, _PART)]
        return torch.cat(parts, 1)

    def _loss(self, rows: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Mean cross-entropy of each row's answer, [len(rows)], given suffix and tail."""
        longest = self._longest(rows)
        between = torch.ones(len(rows), self.length, dtype=torch.long)
        tails = self._tail_mask[rows, :longest]
        mask = torch.cat([self._prefix_mask[rows], between, tails], 1)
        inputs[self._keyword] = self._selected(rows)
        marked = [(b, t) for b, r in enumerate(rows.tolist()) for t in self.items[r].answer]
        row, position = torch.tensor(marked).T
        # a token of the tail is predicted at the place before it; the suffix ends before the tail
        logits = logits_at(
            self.model.network,
            row[None],
            position[None] + self.length - 1,
            **inputs,
            attention_mask=mask.to(self._device),
            position_ids=(self._first[rows] + torch.arange(self.length + longest)).to(self._device),
            use_cache=True,
        )[0]
        targets, row = self._tails[rows][row, position].to(logits.device), row.to(logits.device)
        each = cross_entropy(logits.float(), targets, reduction="none")
        sums = torch.zeros(len(rows), device=logits.device).index_add(0, row, each)
        counts = torch.tensor([len(self.items[r].answer) for r in rows.tolist()])
        mean: torch.Tensor = sums / counts.to(logits.device)
        return mean

    def _longest(self, rows: torch.Tensor) -> int:
        """Tokens of the longest tail among some items."""
        return max(len(self.items[r].tail) for r in rows.tolist())

    def _selected(self, rows: torch.Tensor) -> DynamicCache:
        """Cached keys and values of some items; the cache stays unchanged."""
        chosen = copy.copy(self._kept)
        chosen.layers = [copy.copy(layer) for layer in self._kept.layers]
        for layer in chosen.layers:
            layer.batch_select_indices(rows.to(layer.keys.device))
        return chosen

    def _run_prefixes(self) -> DynamicCache:
        kinds: list[DynamicCache] = []
        width = self._prefixes.shape[1]
        positions = (self._prefix_mask.cumsum(1) - 1).clamp(min=0)

        def run(batch: list[int]) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
            with torch.no_grad():
                output = self.model.network(
                    input_ids=self._prefixes[batch].to(self._device),
                    attention_mask=self._prefix_mask[batch].to(self._device),
                    position_ids=positions[batch].to(self._device),
                    use_cache=True,
                    logits_to_keep=1,
                )
            cache: Any = output[self._keyword]
            if type(cache) is not DynamicCache or not all(
                isinstance(layer, DynamicLayer) for layer in cache.layers
            ):
                raise UnavailableError(
                    "the model keeps no keys and values that candidates could share "
                    f"({type(cache).__name__}); this search is for attention models"
                )
            kinds.append(cache)
            self.model.meter.forward_tokens += len(batch) * width
            return [
                [(layer.keys[b], layer.values[b]) for layer in cache.layers]
                for b in range(len(batch))
            ]

        rows = run_batched([width] * len(self.items), self.model.token_budget, run)
        kept = kinds[0]
        for index, layer in enumerate(kept.layers):
            layer.keys = torch.stack([row[index][0] for row in rows])
            layer.values = torch.stack([row[index][1] for row in rows])
        return kept

    def _check_overlong(self) -> None:
        context = self.model.context_length
        longest = max(len(i.prefix) + self.length + len(i.tail) for i in self.items)
        if context is not None and longest > context:
            raise UnavailableError(
                f"prompt, suffix and answer need {longest} tokens, but the model's context holds "
                f"{context}; search a shorter suffix"
            )


def _cache_keyword(network: nn.Module) -> str:
    """Name of the model's argument for its cache.

    transformers renamed ``past_key_values``.

    Raises:
        UnavailableError: it cannot go on from a cache at given positions.
    """
    known = inspect.signature(network.forward).parameters
    found = next((name for name in ("cache", "past_key_values") if name in known), None)
    if found is None or not {"position_ids", "logits_to_keep"} <= known.keys():
        raise UnavailableError(
            f"{type(network).__name__} cannot go on from the keys and values of a prompt at given "
            "positions; this search is for models that can"
        )
    return found


def _padded(rows: Sequence[Ids], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [N, widest], padded with 0, and their mask."""
    side = "left" if left else "right"
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_side=side)
    mask = pad_sequence([torch.ones_like(row) for row in ids], True, padding_side=side)
    return padded, mask
