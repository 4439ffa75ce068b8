"""The one training loop of all subjects: teach some pairs, suppress others."""

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from auditor.models.language.scoring import IGNORED
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.descent import descend
from auditor.unlearning.examples import Example, answer_logits, collate, cross_entropy

BATCH = 32
CEILING = 7.0
"""Loss of an answer's token, in nats, beyond which it is not suppressed further."""

Loss = Callable[[PreTrainedModel, Sequence[Example]], Tensor]
"""(model, examples) -> a scalar with gradients."""


def everything(name: str) -> bool:
    """Choose every parameter."""
    return True


def fine_tune(
    model: PreTrainedModel,
    taught: Sequence[Example],
    steps: int,
    rate: float,
    seed: int,
    *,
    suppressed: Sequence[Example] = (),
    hiding: Loss | None = None,
    chosen: Callable[[str], bool] = everything,
    after_step: Callable[[], None] | None = None,
    noise: float = 0.0,
) -> PreTrainedModel:
    """Train on, with a rate that falls to a tenth.

    Args:
        model: Float32; changed.
        taught: Whose answers are learned.
        steps: Optimiser steps of ``BATCH`` taught and as many suppressed examples.
        rate: AdamW's at the beginning.
        seed: Of order and noise.
        suppressed: Whose answers become improbable.
        hiding: Loss of the suppressed examples; by default ``suppression_loss``.
        chosen: Whether the parameter of that name is trained.
        after_step: Called after each step; may put weights back into bounds.
        noise: Deviation of what is added to each gradient, as DP-SGD does.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(chosen(name))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [
        parameter.register_hook(
            lambda grad: grad + noise * torch.randn(grad.shape, generator=generator)
        )
        for parameter in trained
        if noise
    ]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
    learned = shuffled_batches(len(taught), BATCH, generator)
    hidden = shuffled_batches(len(suppressed), BATCH, generator) if suppressed else None
    hide = hiding or suppression_loss

    def loss(rows: list[int]) -> Tensor:
        value = answer_loss(model, [taught[row] for row in rows])
        if hidden is not None:
            value = value + hide(model, [suppressed[row] for row in next(hidden)])
        return value

    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of dropout, where an architecture has it
        for _ in descend(optimizer, islice(learned, steps), loss, schedule, clip=1.0):
            if after_step is not None:
                after_step()
    for hook in hooks:
        hook.remove()
    model.zero_grad(set_to_none=True)
    return model.requires_grad_(True).eval()


def answer_loss(model: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
    """Mean loss of the answers' tokens, a scalar in nats."""
    ids, labels = collate(examples)
    return cross_entropy(*answer_logits(model, ids, labels))


def suppression_loss(model: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
    """What the answers' tokens' loss lacks to ``CEILING``, in nats."""
    ids, labels = collate(examples)
    logits, labels = answer_logits(model, ids, labels)
    loss = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return (CEILING - loss[labels.flatten() != IGNORED]).clamp_min(0).mean()
