"""Endless shuffled passes over training examples."""

from collections.abc import Iterator

import torch


def shuffled_batches(
    count: int, size: int, generator: torch.Generator | None = None
) -> Iterator[list[int]]:
    """Yield batches of indices from endless shuffled passes; every batch is full.

    Args:
        count: Examples in a pass.
        size: Examples in a batch.
        generator: Generator of the order, on the CPU; by default torch's global random state, from
            which it is drawn when a pass begins.
    """
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:size]
        waiting = waiting[size:]
