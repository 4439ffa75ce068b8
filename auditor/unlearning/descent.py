"""The optimiser's steps that all training from gradients shares."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Batch = TypeVar("Batch")


def descend(
    optimizer: Optimizer,
    batches: Iterable[Batch],
    loss: Callable[[Batch], Tensor],
    schedule: LRScheduler | None = None,
    clip: float | None = None,
) -> Iterator[float]:
    """Take one step per batch, and yield each loss.

    The loss is that from which the step was taken.

    Args:
        optimizer: Holds what is trained.
        batches: What each step learns from.
        loss: A scalar with gradients.
        schedule: Schedule of the learning rate, stepped after the optimiser.
        clip: Largest norm of the whole gradient.
    """
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    for batch in batches:
        value = loss(batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        yield value.item()
