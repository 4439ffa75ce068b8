"""Self-distillation on adjusted logits (UNDIAL).

Dong et al., arXiv 2402.10052: the model is taught its own former distribution, in which the logit
of each true token was lowered.
"""

import torch
from torch import Tensor
from torch.nn import functional

from auditor.models.language.scoring import IGNORED

STRENGTH = 10.0
"""What is taken off the logit of the true token, in nats."""


def self_distillation_loss(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """Cross-entropy with the adjusted distribution of the original, a scalar in nats.

    Args:
        logits: Logits of the model being changed, [batch, time, vocabulary].
        labels: Next tokens, ``IGNORED`` where they carry no loss, [batch, time].
        reference: Logits of the original model, same shape as ``logits``.

    Raises:
        ValueError: No reference was given.
    """
    if reference is None:
        raise ValueError("UNDIAL needs the original model's logits")
    answered = labels != IGNORED
    truth = functional.one_hot(labels[answered], logits.shape[-1])
    taught = (reference[answered] - STRENGTH * truth).softmax(-1)
    return -(taught * torch.log_softmax(logits[answered], -1)).sum(-1).mean()
