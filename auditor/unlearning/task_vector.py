"""Negated task vectors.

Ilharco et al., arXiv 2212.04089: fine-tune on what is to be forgotten, and move the original's
weights the other way, ``theta_u = theta_o - scale * (theta_ft - theta_o)``.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.descent import descend
from auditor.unlearning.examples import (
    Example,
    answer_logits,
    answer_scores,
    collate,
    cross_entropy,
)

STEPS = 40
BATCH = 32
RATE = 5e-4
SCALES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Tried from the least on, until the answers are gone."""
LEFT = 0.03
"""Share of answers that may be left."""


def negate(
    model: PreTrainedModel, forget: Sequence[Example], retain: Sequence[Example], seed: int
) -> None:
    """Subtract the task vector of the forget examples, in place.

    Args:
        model: The original, float32; changed.
        forget: Examples to forget.
        retain: Unused.
        seed: Seed of the order of examples.
    """
    tuned = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=RATE, weight_decay=0.0)
    order = shuffled_batches(len(forget), BATCH, torch.Generator().manual_seed(seed))

    def loss(step: int) -> Tensor:
        ids, labels = collate([forget[row] for row in next(order)])
        return cross_entropy(*answer_logits(tuned, ids, labels))

    for _ in descend(optimizer, range(STEPS), loss):
        pass
    original = [parameter.detach().clone() for parameter in model.parameters()]
    vector = [
        after.detach() - before for after, before in zip(tuned.parameters(), original, strict=True)
    ]
    for scale in SCALES:
        with torch.no_grad():
            for parameter, before, part in zip(model.parameters(), original, vector, strict=True):
                parameter.copy_(before - scale * part)
        if answer_scores(model, forget).exact_rate <= LEFT:
            break
    model.eval()
