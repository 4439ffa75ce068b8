"""Gradient ascent: raise the loss on what is to be forgotten.

Jang et al., arXiv 2210.01504; the baseline of TOFU (arXiv 2401.06121) and MUSE (2407.06460).
"""

from torch import Tensor

from auditor.unlearning.examples import cross_entropy


def gradient_ascent_loss(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """The negated loss: minus the mean negative log-likelihood of the forget answers.

    Args:
        logits: Logits of the model being changed, [batch, time, vocabulary].
        labels: Next tokens, ``IGNORED`` where they carry no loss, [batch, time].
        reference: Unused.

    Returns:
        A scalar in nats, unbounded below.
    """
    return -cross_entropy(logits, labels)
