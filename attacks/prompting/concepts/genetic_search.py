"""A genetic search over sequences of tokens, several searches side by side."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Distance = Callable[[Tensor], Tensor]
"""Function from candidates [searches, n, length] to their distances from the search's aim
[searches, n]."""


@dataclass(frozen=True)
class Evolution:
    """Size and rates of a genetic search."""

    length: int
    """Tokens of a candidate."""
    population: int
    """Candidates alive at a time, two or more."""
    generations: int
    crossover: float
    """Probability that a child has a second parent."""
    mutation: float
    """Probability that one of a child's tokens is drawn anew."""


@dataclass(frozen=True)
class Evolved:
    """The best candidate of each search."""

    best: Tensor
    """Best candidate of each search, [searches, length]."""
    distances: Tensor
    """Distance of the best candidate before the first and after each generation, [generations + 1,
    searches]."""


def evolve(
    distance: Distance, choices: int, searches: int, settings: Evolution, generator: torch.Generator
) -> Evolved:
    """Search token sequences nearest to the aims (arXiv 2310.10012).

    The nearer half of a population lives on. Each of it has a child, whose tail may come from
    another of that half, and of which one token may be drawn anew. The living are not measured
    again, so a generation costs half a population, and the best distance never rises.

    Args:
        distance: what is made small.
        choices: tokens are the numbers below this.
        searches: how many searches; all see the same draws, whatever they find.
        settings: what may be spent.
        generator: generator of everything random, on the CPU.
    """
    size, length = settings.population, settings.length
    kept = size // 2
    alive = torch.randint(choices, (searches, size, length), generator=generator)
    near, order = distance(alive).sort(dim=1, stable=True)
    alive = _chosen(alive, order)
    history = [near[:, 0]]
    for _ in range(settings.generations):
        children = _children(alive[:, :kept], size - kept, choices, settings, generator)
        near = torch.cat([near[:, :kept], distance(children)], dim=1)
        near, order = near.sort(dim=1, stable=True)
        alive = _chosen(torch.cat([alive[:, :kept], children], dim=1), order)
        history.append(near[:, 0])
    return Evolved(alive[:, 0], torch.stack(history))


def _children(
    parents: Tensor, count: int, choices: int, settings: Evolution, generator: torch.Generator
) -> Tensor:
    """Children [searches, count, length] of parents [searches, kept, length]."""
    searches, kept, length = parents.shape

    def drawn(most: int) -> Tensor:
        return torch.randint(most, (searches, count), generator=generator)

    def happens(chance: float) -> Tensor:
        return torch.rand(searches, count, generator=generator) < chance

    places = torch.arange(length)
    first = parents[:, torch.arange(count) % kept]
    second = _chosen(parents, drawn(kept))
    crossed, cut = happens(settings.crossover), 1 + drawn(max(1, length - 1))
    children = torch.where(crossed[..., None] & (places >= cut[..., None]), second, first)
    mutated, place, token = happens(settings.mutation), drawn(length), drawn(choices)
    hit = mutated[..., None] & (places == place[..., None])
    return torch.where(hit, token[..., None], children)


def _chosen(candidates: Tensor, order: Tensor) -> Tensor:
    """Candidates [searches, n, length] in the order of ``order`` [searches, m]."""
    return candidates.gather(1, order[..., None].expand(-1, -1, candidates.shape[-1]))
