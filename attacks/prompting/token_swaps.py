"""Swaps of tokens along a gradient (arXiv 2307.15043), whatever the loss."""

import random
from collections.abc import Callable, Sequence

import torch

_DRAWS = 8
"""Times the wanted number of candidates that are drawn at most to find as many different ones."""


def steepest(gradient: torch.Tensor, allowed: list[int], count: int) -> list[list[int]]:
    """The allowed tokens with the most negative gradient at each position.

    Args:
        gradient: [length, vocabulary].
        allowed: ids that may be chosen.
        count: how many a position (all allowed ones, if they are fewer).
    """
    index = torch.tensor(allowed)
    found = gradient[:, index].topk(min(count, len(allowed)), dim=1, largest=False).indices
    chosen: list[list[int]] = index[found].tolist()
    return chosen


def candidates(
    ids: list[int],
    top: Sequence[list[int]],
    count: int,
    n_replace: int,
    rng: random.Random,
    readable: Callable[[list[int]], bool] = lambda changed: True,
) -> list[list[int]]:
    """Candidate sequences with ``n_replace`` tokens replaced.

    Each replacement is one of ``top``; no two candidates are the same.

    Args:
        ids: the sequence that is changed.
        top: tokens to choose from, by position.
        count: how many are wanted; fewer are returned where there are no more.
        n_replace: Positions drawn for each.
        rng: source of the draws.
        readable: refuses what the tokenizer would not read back; by default nothing.
    """
    seen = {tuple(ids)}
    found: list[list[int]] = []
    for _ in range(_DRAWS * count):
        if len(found) == count:
            break
        changed = list(ids)
        for place in rng.sample(range(len(ids)), min(n_replace, len(ids))):
            changed[place] = rng.choice(top[place])
        if tuple(changed) in seen:
            continue
        seen.add(tuple(changed))
        if readable(changed):
            found.append(changed)
    return found
