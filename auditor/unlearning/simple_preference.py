"""Simple negative preference optimisation (SimNPO).

Fan et al., arXiv 2410.07163: NPO without a reference model, normalised by the answer's length, so
that short answers are not forgotten at the cost of long ones.
"""

from torch import Tensor
from torch.nn import functional

from auditor.models.language.scoring import IGNORED, sequence_log_probability

BETA = 2.5
"""Inverse temperature, the paper's value for TOFU."""


def simple_preference_loss(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """Return ``-(2 / beta) * E[log sigmoid(-beta * log pi(y|x) / |y|)]``.

    The margin is the paper's, 0.

    Args:
        logits: Logits of the model being changed, [batch, time, vocabulary].
        labels: Next tokens, ``IGNORED`` where they carry no loss, [batch, time].
        reference: Unused.

    Returns:
        A scalar, positive.
    """
    length = (labels != IGNORED).sum(-1).clamp_min(1)
    mean = sequence_log_probability(logits, labels) / length
    return -(2 / BETA) * functional.logsigmoid(-BETA * mean).mean()
