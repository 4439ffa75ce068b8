"""Retain terms, which keep the rest of the model in place.

Both are used as MUSE defines them (arXiv 2407.06460) and are added to a forget loss.
"""

from torch import Tensor

from auditor.models.language.scoring import IGNORED
from auditor.unlearning.examples import cross_entropy


def gradient_descent_retain(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """GDR: the ordinary loss on retain answers.

    Args:
        logits: Logits of the model being changed, [batch, time, vocabulary].
        labels: Next tokens, ``IGNORED`` where they carry no loss, [batch, time].
        reference: Unused.

    Returns:
        A scalar in nats.
    """
    return cross_entropy(logits, labels)


def divergence_retain(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """Return the mean KL divergence from the original model (KLR).

    It is taken between the distributions of the next token.

    Args:
        logits: Logits of the model being changed, [batch, time, vocabulary].
        labels: Mark the answer positions, where the divergence is taken, [batch, time].
        reference: Logits of the original model, same shape as ``logits``.

    Returns:
        A scalar in nats, zero where the model is the original.

    Raises:
        ValueError: No reference was given.
    """
    if reference is None:
        raise ValueError("KLR needs the original model's logits")
    answered = labels != IGNORED
    original = reference[answered].log_softmax(-1)
    changed = logits[answered].log_softmax(-1)
    return (original.exp() * (original - changed)).sum(-1).mean()
