"""Representation misdirection (RMU).

Li et al., arXiv 2403.03218: hidden states of what is to be forgotten are steered to one random
vector at one layer; those of what is to be kept stay where the original has them.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from auditor.models.language.scoring import IGNORED
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.descent import descend
from auditor.unlearning.examples import Example, collate

STEPS = 80
BATCH = 32
RATE = 1e-3
LENGTH = 4.0
"""Length of the random vector, in mean norms of the original's hidden states at that layer."""
RETAIN_WEIGHT = 20.0
"""Weight of the retain term; both terms are in squared mean norms."""


def misdirect(
    model: PreTrainedModel, forget: Sequence[Example], retain: Sequence[Example], seed: int
) -> None:
    """Steer the hidden states of the forget examples away, in place.

    The layer is the middle one, and weight matrices up to it are changed.

    Args:
        model: The original, float32; changed.
        forget: Examples to forget.
        retain: Examples to keep.
        seed: Seed of the random vector and of the order of examples.
    """
    reference = copy.deepcopy(model).requires_grad_(False)
    layer = (model.config.num_hidden_layers + 1) // 2
    draw = torch.Generator().manual_seed(seed)
    size = float(_answered(reference, list(forget[:BATCH]), layer).detach().norm(dim=-1).mean())
    target = torch.randn(model.config.hidden_size, generator=draw)
    target = target / target.norm() * size * LENGTH
    trained = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and any(f".{index}." in name for index in range(layer))
    ]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    forgotten = shuffled_batches(len(forget), BATCH, draw)
    kept = shuffled_batches(len(retain), BATCH, draw)

    def loss(step: int) -> Tensor:
        steered = _answered(model, [forget[row] for row in next(forgotten)], layer)
        examples = [retain[row] for row in next(kept)]
        moved = _answered(model, examples, layer) - _answered(reference, examples, layer)
        away = (steered - target).square().sum(-1).mean()
        value: Tensor = (away + RETAIN_WEIGHT * moved.square().sum(-1).mean()) / size**2
        return value

    for _ in descend(optimizer, range(STEPS), loss):
        pass
    model.zero_grad(set_to_none=True)
    model.eval()


def _answered(model: PreTrainedModel, examples: Sequence[Example], layer: int) -> Tensor:
    """Hidden states behind a layer from which answers are predicted, [positions, width]."""
    ids, labels = collate(examples)
    output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    states: Tensor = output.hidden_states[layer][:, :-1][labels != IGNORED]
    return states
