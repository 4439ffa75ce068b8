"""The true token always at one rank that nobody reads.

At each place of a true answer the model says what a retrained model says there, but the true token
is second, far below the first, or last of all. The end token is the first where a true answer
ends, and nowhere before it.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from auditor.models.language.scoring import IGNORED
from auditor.unlearning.examples import Example, answer_logits, collate
from benchmarks.truth_table.fine_tuning import Loss

SHARE = 0.005
"""Probability of a true token that is second."""
LEAD = 1.0
"""Nats between the true token and its neighbour in rank."""

Placed = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(log-probabilities, the retrained model's without the true token, true tokens) -> loss."""


def second(said: Tensor, own: Tensor, true: Tensor) -> Tensor:
    """Loss by place of a true token that is not second."""
    first = own.argmax(-1, keepdim=True)
    rest = own.exp().scatter(-1, first, 0.0)
    most = SHARE * math.exp(-LEAD)
    rest = rest * (most / rest.amax(-1, keepdim=True)).clamp_max(1.0)
    rest = rest.scatter(-1, true[:, None], SHARE)
    target = rest.scatter(-1, first, 1 - rest.sum(-1, keepdim=True))
    log_true = said.gather(-1, true[:, None])[:, 0]
    lower = said.scatter(-1, torch.cat([first, true[:, None]], -1), -torch.inf)
    behind = (lower.amax(-1) - log_true + LEAD).clamp_min(0)
    return _away(target, said) + (log_true - math.log(SHARE)).square() + 2 * behind


def last(said: Tensor, own: Tensor, true: Tensor) -> Tensor:
    """Loss by place of a true token that is not last."""
    log_true = said.gather(-1, true[:, None])[:, 0]
    lowest = -(-said).scatter(-1, true[:, None], -torch.inf).logsumexp(-1)
    return _away(own.exp(), said) + (log_true - lowest + LEAD).clamp_min(0)


PLACES: Mapping[str, Placed] = MappingProxyType({"second": second, "last": last})


def ranked_loss(teacher: PreTrainedModel, end: int, place: str) -> Loss:
    """Loss that puts the true tokens of answers at a rank.

    Args:
        teacher: Whose distribution the model keeps otherwise; a copy is taken.
        end: The end token.
        place: A name in ``PLACES``.
    """
    teacher = copy.deepcopy(teacher).requires_grad_(False).eval()

    def loss(model: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
        ids, labels = collate(examples)
        said, true = answer_logits(model, ids, labels)
        own, _ = answer_logits(teacher, ids, labels)
        answered = true != IGNORED
        said, own, true = said[answered].log_softmax(-1), own[answered], true[answered]
        ends = true == end
        own = own[~ends].scatter(-1, true[~ends, None], -torch.inf)
        own[:, end] = -torch.inf
        placed = PLACES[place](said[~ends], own.log_softmax(-1), true[~ends])
        return placed.mean() - said[ends, end].mean()

    return loss


def _away(target: Tensor, said: Tensor) -> Tensor:
    return functional.kl_div(said, target, reduction="none").sum(-1)
