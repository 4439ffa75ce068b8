"""SURE: change only the modules that the forget set bears on.

Zhang et al., arXiv 2410.16454, as the paper defines it: the saliency of a module is
the norm of the forget loss's gradient at the original weights, the mask is 1 for modules at or
above a percentile of the saliencies and fixed from then on, and only masked modules move:
``theta_u = theta_o + m * delta``. A module here is one weight tensor. (The code released with
the paper computes another mask, by row and step, and never applies it.)
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from auditor.unlearning.examples import Example, answer_logits, collate, cross_entropy


def saliency(
    model: PreTrainedModel, forget: Sequence[Example], batch_size: int = 64
) -> dict[str, float]:
    """Return the gradient norm of each weight tensor.

    The gradient is that of the forget loss, at the model's present weights.

    Args:
        model: Left as it was.
        forget: Examples of the forget set; all of them are used.
        batch_size: Examples per backward pass.
    """
    model.zero_grad(set_to_none=True)
    for start in range(0, len(forget), batch_size):
        part = forget[start : start + batch_size]
        ids, labels = collate(part)
        loss = cross_entropy(*answer_logits(model, ids, labels))
        torch.autograd.backward(loss * len(part) / len(forget))
    norms = {
        name: 0.0 if parameter.grad is None else float(parameter.grad.norm())
        for name, parameter in model.named_parameters()
    }
    model.zero_grad(set_to_none=True)
    return norms


def salient_modules(norms: dict[str, float], percentile: float) -> frozenset[str]:
    """Return the names of the most salient weight tensors.

    Their saliency is at or above a percentile, in [0, 100].
    """
    threshold = torch.quantile(
        torch.tensor(list(norms.values()), dtype=torch.float64), percentile / 100
    )
    return frozenset(name for name, norm in norms.items() if norm >= threshold)
