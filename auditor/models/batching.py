"""Batches cut by token budget.

They are halved when memory runs out and grown back.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from auditor.core.errors import MemoryExhaustedError
from auditor.core.faults import is_out_of_memory
from auditor.models.memory import release_memory

Result = TypeVar("Result")
Batching = Literal["padded", "equal", "single"]
"""Items that one batch may hold: of any length, of one length, or one item."""

_GROW_AFTER = 8
"""Number of batches that must fit before a halved budget is doubled again."""


class Room(NamedTuple):
    """A bound on batches beside that of tokens."""

    sizes: Sequence[int]
    """What each item needs."""
    most: int
    """What a batch may need: its items, each taken for as large as the largest."""

    def fitting(self, batch: Sequence[int]) -> int:
        """Return how many of a batch's first items fit, at least one."""
        largest = 0
        for count, item in enumerate(batch):
            largest = max(largest, self.sizes[item])
            if count and (count + 1) * largest > self.most:
                return count
        return len(batch)

    def of(self, items: Sequence[int]) -> "Room":
        """The same bound for some of the items."""
        return Room([self.sizes[item] for item in items], self.most)


def by_length(
    lengths: Sequence[int], budget: int, *, equal: bool = False, room: Room | None = None
) -> Iterator[list[int]]:
    """Yield index batches, longest first, whose padded size stays within ``budget`` tokens.

    An item longer than the budget makes a batch of its own.

    Args:
        lengths: Tokens of each item, padding excluded.
        budget: Padded tokens that one batch may hold.
        equal: Whether a batch holds items of one length only, so that none is padded.
        room: What else bounds a batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        widest = max(1, lengths[order[start]])
        size = max(1, budget // widest)
        if equal:
            size = min(size, sum(lengths[i] == lengths[order[start]] for i in order[start:]))
        if room is not None:
            size = room.fitting(order[start : start + size])
        yield order[start : start + size]
        start += size


def run_batched(
    lengths: Sequence[int],
    budget: int,
    run: Callable[[list[int]], Sequence[Result]],
    done: Callable[[int], None] = lambda n: None,
    *,
    equal: bool = False,
    room: Room | None = None,
) -> list[Result]:
    """Apply ``run`` to index batches, results in the input's order.

    Args:
        lengths: tokens of each item, padding excluded.
        budget: padded tokens that one batch may hold.
        run: takes the indices of a batch, returns one result for each.
        done: told how many items each finished batch held.
        equal: whether a batch holds items of one length only, so that none is padded.
        room: what else bounds a batch.

    Raises:
        MemoryExhaustedError: a single item does not fit into memory.
    """
    results: dict[int, Result] = {}
    current, fitted = budget, 0
    waiting = list(by_length(lengths, current, equal=equal, room=room))
    while waiting:
        batch = waiting.pop(0)
        out_of_memory = False
        try:
            results.update(zip(batch, run(batch), strict=True))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise MemoryExhaustedError(
                    f"out of memory with a single item of {lengths[batch[0]]} tokens"
                ) from error
            out_of_memory = True
        left = [i for rest in waiting for i in rest]
        if out_of_memory:  # outside the handler, so that the failed batch's tensors are freed
            release_memory()
            current = max(1, (len(batch) // 2) * max(lengths[i] for i in batch))
            waiting, fitted = _cut([*batch, *left], lengths, current, equal, room), 0
            continue
        done(len(batch))
        fitted += 1
        if current < budget and fitted >= _GROW_AFTER:
            current = min(budget, current * 2)
            waiting, fitted = _cut(left, lengths, current, equal, room), 0
    return [results[i] for i in range(len(lengths))]


def _cut(
    indices: Sequence[int], lengths: Sequence[int], budget: int, equal: bool, room: Room | None
) -> list[list[int]]:
    own = [lengths[i] for i in indices]
    left = None if room is None else room.of(indices)
    return [[indices[j] for j in batch] for batch in by_length(own, budget, equal=equal, room=left)]
