"""Per-token log-probabilities of given answers, out of one forward pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from auditor.core.errors import MeasurementError

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

IGNORED = -100
"""Label of a position that carries no loss."""

_ROWS = 1024
"""Most answer positions turned to float32 log-probabilities at a time ([_ROWS, vocabulary])."""
_CACHED = 1 << 20
"""Log-probabilities computed at a time on a processor: what fits in its cache goes several times
faster."""
_NEGLIGIBLE = -1e4
"""A log-probability whose exp is 0 in float32; finite, so that 0 log 0 = 0."""


@dataclass(frozen=True)
class TokenScores:
    """Scores of one answer, token by token.

    All arrays have shape [T].
    """

    log_probability: Floats
    """Natural logarithm of the probability of each answer token, given all before it."""
    mean: Floats
    """Mean of the log-probability over the vocabulary, weighted by probability (Min-K%++)."""
    deviation: Floats
    """Standard deviation of the log-probability over the vocabulary, weighted by probability."""
    predicted: Bools
    """Whether the token was the most probable one (teacher-forced argmax)."""

    @property
    def mean_log_probability(self) -> float:
        """Mean log-probability per token, in nats; the negative of the loss."""
        return float(self.log_probability.mean(dtype=np.float64))

    def after(self, tokens: int) -> "TokenScores":
        """Return the scores without the first ``tokens``.

        At least one token is left.
        """
        start = min(tokens, len(self.log_probability) - 1)
        return TokenScores(
            self.log_probability[start:],
            self.mean[start:],
            self.deviation[start:],
            self.predicted[start:],
        )


@dataclass(frozen=True)
class TokenPlaces:
    """Places of one answer's tokens in the model's distribution, token by token.

    All arrays have shape [T]. Tokens of one and the same logit share a place.
    """

    log_probability: Floats
    """Natural logarithm of the probability of each answer token, given all before it."""
    below_first: Floats
    """Logarithm of its ratio to the most probable token's probability, at most 0."""
    above: Counts
    """Tokens that are more probable."""
    beneath: Counts
    """Tokens that are less probable."""


@torch.inference_mode()
def token_scores(
    logits: torch.Tensor, ids: torch.Tensor, answers: list[list[int]]
) -> list[TokenScores]:
    """Return the scores of each answer in a padded batch.

    Only the answer positions are turned to float32, a block of rows at a time, so a float32
    [batch, time, vocabulary] log-softmax never exists.

    Args:
        logits: [B, T, V], of any float type.
        ids: [B, T] token ids.
        answers: for each row the positions of its answer's tokens, each at least 1.

    Raises:
        MeasurementError: a logit is NaN or infinite where an answer is read.
    """
    rows, positions, targets = _marked(logits, ids, answers)
    parts: list[tuple[torch.Tensor, ...]] = []
    for part in _blocks(logits, len(rows)):
        log_p = torch.log_softmax(logits[rows[part], positions[part] - 1].float(), dim=-1)
        target = targets[part].unsqueeze(-1)
        of_target = log_p.gather(-1, target).squeeze(-1)
        predicted = log_p.argmax(-1) == target.squeeze(-1)
        p = log_p.exp()
        log_p.clamp_(min=_NEGLIGIBLE)
        mean = torch.linalg.vecdot(p, log_p)
        # about the mean: E[l^2] - E[l]^2 cancels to noise over a large vocabulary
        variance = torch.linalg.vecdot(p, log_p.sub_(mean.unsqueeze(-1)).square_())
        parts.append((of_target, mean, variance.sqrt(), predicted))
    return [TokenScores(*arrays) for arrays in _of_answers(parts, answers)]


@torch.inference_mode()
def token_places(
    logits: torch.Tensor, ids: torch.Tensor, answers: list[list[int]]
) -> list[TokenPlaces]:
    """Return the places of each answer's tokens in a padded batch.

    Args:
        logits: [B, T, V], of any float type.
        ids: [B, T] token ids.
        answers: for each row the positions of its answer's tokens, each at least 1.

    Raises:
        MeasurementError: a logit is NaN or infinite where an answer is read.
    """
    rows, positions, targets = _marked(logits, ids, answers)
    parts: list[tuple[torch.Tensor, ...]] = []
    for part in _blocks(logits, len(rows)):
        found = logits[rows[part], positions[part] - 1].float()
        of_target = found.gather(-1, targets[part].unsqueeze(-1))
        above = (found > of_target).sum(-1)
        beneath = (found < of_target).sum(-1)
        below_first = (of_target - found.amax(-1, keepdim=True)).squeeze(-1)
        log_p = of_target.squeeze(-1) - found.logsumexp(-1)
        parts.append((log_p, below_first, above, beneath))
    return [TokenPlaces(*arrays) for arrays in _of_answers(parts, answers)]


def _marked(
    logits: torch.Tensor, ids: torch.Tensor, answers: list[list[int]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return row, position and id of all answers' tokens, [n] each."""
    rows = torch.tensor(
        [b for b, marked in enumerate(answers) for _ in marked], device=logits.device
    )
    positions = torch.tensor([t for marked in answers for t in marked], device=logits.device)
    return rows, positions, ids[rows, positions]


def _blocks(logits: torch.Tensor, count: int) -> Iterator[slice]:
    """Yield the rows that are turned to float32 at a time."""
    block = _ROWS
    if logits.device.type == "cpu":
        block = min(block, max(1, _CACHED // logits.shape[-1]))
    for start in range(0, count, block):
        yield slice(start, start + block)


def _of_answers(
    parts: list[tuple[torch.Tensor, ...]], answers: list[list[int]]
) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Yield the columns of each answer, log-probabilities first.

    Raises:
        MeasurementError: a log-probability is not finite.
    """
    columns = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
    finite = np.isfinite(columns[0])
    if not finite.all():
        raise MeasurementError(
            f"the model's logits are not finite at {int((~finite).sum())} of {len(finite)} "
            "answer positions; no probability can be read from them. Set `dtype: float32` where "
            "half precision overflows; else the weights themselves are not finite"
        )
    ends = np.cumsum([len(marked) for marked in answers])[:-1]
    yield from zip(*(np.split(column, ends) for column in columns), strict=True)


def sequence_log_probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-probability of each sequence's labelled tokens, [batch], in nats, with gradients.

    Args:
        logits: [batch, time, vocabulary], at each position those of its label.
        labels: [batch, time] token ids; ``IGNORED`` where there is none.
    """
    loss = functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return -loss.sum(-1)
