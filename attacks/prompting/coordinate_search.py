"""Greedy coordinate gradient: a discrete search for a suffix (arXiv 2307.15043)."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from attacks.prompting.shared_prefix import Ids, SharedPrefix
from attacks.prompting.suffix_text import starting_suffix, suffix_text, survives
from auditor.models.causal_lm.model import CausalLM

_DRAWS = 8
"""Times the wanted number of candidates that are drawn at most to find as many different ones."""


@dataclass(frozen=True)
class Budget:
    """What a search may spend."""

    length: int
    """Tokens of the suffix."""
    steps: int
    candidates: int
    """Different suffixes tried a step."""
    top_k: int
    """Tokens a position that are drawn from, those with the steepest descent."""
    swaps: int
    """Positions that a candidate changes."""
    items: int
    """Prompts that all candidates of a step are tried on."""
    finalists: int
    """Best candidates of a step that are tried on all prompts."""
    patience: int
    """Steps without a better suffix after which the search ends."""
    stop_loss: float
    """Loss, in nats per token, at which it ends."""


@dataclass(frozen=True)
class Searched:
    """The best suffix of one search."""

    ids: Ids
    text: str
    losses: tuple[float, ...]
    """Mean loss over all prompts before the search and after each step, in nats; never rises."""
    evaluated: int
    """Candidates tried."""


def search_suffix(
    model: CausalLM,
    pairs: Sequence[tuple[str, str]],
    allowed: Ids,
    budget: Budget,
    seed: int,
) -> Searched:
    """Search one suffix that makes the answers of all pairs likely.

    A step takes the gradient by the suffix's one-hot tokens, draws candidates that swap tokens for
    some of steepest descent, tries them on some of the prompts and the best of them on all; what
    lowers the loss over all prompts is kept. (The published search goes on from the best candidate
    even if it is worse.)

    Args:
        model: whose loss counts; unchanged.
        pairs: prompts with their true answers.
        allowed: ids of the tokens that the suffix may hold.
        budget: what may be spent.
        seed: of the first suffix, the prompts of each step and the candidates.

    Raises:
        UnavailableError: the tokenizer reads no suffix back, or the prompts are too long.
        MeasurementError: a loss is not finite.
    """
    rng = random.Random(seed)  # noqa: S311 - a reproducible draw
    ids, items = starting_suffix(model, pairs, budget.length, allowed, rng)
    prefix = SharedPrefix(model, items, budget.length)
    everything = range(len(items))
    losses = [float(prefix.losses([ids], everything).mean())]
    evaluated = stale = 0

    def readable(candidate: Ids) -> bool:
        return survives(model, pairs[:1], items[:1], candidate)

    for _ in range(budget.steps):
        if losses[-1] <= budget.stop_loss or stale >= budget.patience:
            break
        some = sorted(rng.sample(everything, min(budget.items, len(items))))
        top = steepest(prefix.gradient(ids, some), allowed, budget.top_k)
        drawn = candidates(ids, top, budget.candidates, budget.swaps, rng, readable)
        if not drawn:  # the tokenizer refused them all; the next step's gradient names others
            stale += 1
            losses.append(losses[-1])
            continue
        evaluated += len(drawn)
        found = prefix.losses(drawn, some).mean(1)
        best = found.argsort(stable=True)[: budget.finalists].tolist()
        if len(some) < len(items):
            full = prefix.losses([drawn[i] for i in best], everything).mean(1).tolist()
        else:
            full = found[best].tolist()
        better = [
            (loss, drawn[i])
            for loss, i in sorted(zip(full, best, strict=True))
            if loss < losses[-1]
        ]
        kept = next((b for b in better if survives(model, pairs, items, b[1])), None)
        stale = 0 if kept else stale + 1
        if kept:
            ids = kept[1]
        losses.append(kept[0] if kept else losses[-1])
    return Searched(ids, suffix_text(model.tokenizer, ids), tuple(losses), evaluated)


def steepest(gradient: torch.Tensor, allowed: Ids, count: int) -> list[Ids]:
    """The allowed tokens with the most negative gradient at each position.

    Args:
        gradient: [length, vocabulary].
        allowed: ids that may be chosen.
        count: how many a position (all allowed ones, if they are fewer).
    """
    index = torch.tensor(allowed)
    found = gradient[:, index].topk(min(count, len(allowed)), dim=1, largest=False).indices
    return index[found].tolist()


def candidates(
    ids: Ids,
    top: Sequence[Ids],
    count: int,
    swaps: int,
    rng: random.Random,
    readable: Callable[[Ids], bool],
) -> list[Ids]:
    """Different suffixes, each with ``swaps`` tokens of ``ids`` swapped for one of ``top``.

    Args:
        ids: the suffix that is changed.
        top: tokens to choose from, by position.
        count: how many are wanted; fewer are returned where there are no more.
        swaps: positions drawn for each.
        rng: source of the draws.
        readable: refuses what the tokenizer would not read back.
    """
    seen = {tuple(ids)}
    found: list[Ids] = []
    for _ in range(_DRAWS * count):
        if len(found) == count:
            break
        changed = list(ids)
        for place in rng.sample(range(len(ids)), min(swaps, len(ids))):
            changed[place] = rng.choice(top[place])
        if tuple(changed) in seen:
            continue
        seen.add(tuple(changed))
        if readable(changed):
            found.append(changed)
    return found
