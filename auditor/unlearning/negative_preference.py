"""Negative preference optimisation (NPO).

Zhang et al., arXiv 2404.05868. Bounded below, and its gradient fades on examples that the model
has already forgotten, so it collapses far more slowly than gradient ascent.
"""

from torch import Tensor
from torch.nn import functional

from auditor.models.language.scoring import sequence_log_probability

BETA = 0.1
"""Inverse temperature: the value of the paper and of MUSE."""


def negative_preference_loss(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """``(2 / beta) * E[log(1 + (pi(y|x) / pi_ref(y|x)) ** beta)]``.

    ``pi`` is the probability of the whole answer, a product over its tokens.

    Args:
        logits: Logits of the model being changed, [batch, time, vocabulary].
        labels: Next tokens, ``IGNORED`` where they carry no loss, [batch, time].
        reference: Logits of the original model, same shape as ``logits``.

    Returns:
        A scalar; ``(2 / beta) * log 2`` where the model is the reference.

    Raises:
        ValueError: No reference was given.
    """
    if reference is None:
        raise ValueError("NPO needs the original model's logits")
    return negative_preference(
        sequence_log_probability(logits, labels) - sequence_log_probability(reference, labels)
    )


def negative_preference(log_ratio: Tensor) -> Tensor:
    """Return the NPO loss from log-ratios of the answers.

    A log-ratio is ``log(pi(y|x) / pi_ref(y|x))``; they are [batch], in nats.
    """
    return -(2 / BETA) * functional.logsigmoid(-BETA * log_ratio).mean()
