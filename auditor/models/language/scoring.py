"""Per-token log-probabilities of given answers, out of one forward pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class AnswerLogits(NamedTuple):
    """Logits from which the tokens of some answers are predicted.

    One answer stands after the other.
    """

    logits: torch.Tensor
    """[tokens, vocabulary], of any float type."""
    targets: torch.Tensor
    """Ids of the answers' tokens, [tokens], on the same device."""
    lengths: list[int]
    """Tokens of each answer, at least 1."""


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
def token_scores(answers: AnswerLogits) -> list[TokenScores]:
    """Return the scores of each answer of a batch.

    A block of rows at a time is turned to float32 log-probabilities, of which several copies are
    needed.

    Raises:
        MeasurementError: A logit is NaN or infinite.
    """
    parts: list[tuple[torch.Tensor, ...]] = []
    for part in _blocks(answers.logits):
        log_p = torch.log_softmax(answers.logits[part].float(), dim=-1)
        target = answers.targets[part].unsqueeze(-1)
        of_target = log_p.gather(-1, target).squeeze(-1)
        predicted = log_p.argmax(-1) == target.squeeze(-1)
        p = log_p.exp()
        log_p.clamp_(min=_NEGLIGIBLE)
        mean = torch.linalg.vecdot(p, log_p)
        # about the mean: E[l^2] - E[l]^2 cancels to noise over a large vocabulary
        variance = torch.linalg.vecdot(p, log_p.sub_(mean.unsqueeze(-1)).square_())
        parts.append((of_target, mean, variance.sqrt(), predicted))
    return [TokenScores(*arrays) for arrays in _of_answers(parts, answers.lengths)]


@torch.inference_mode()
def token_places(answers: AnswerLogits) -> list[TokenPlaces]:
    """Return the places of each answer's tokens.

    Raises:
        MeasurementError: A logit is NaN or infinite.
    """
    parts: list[tuple[torch.Tensor, ...]] = []
    for part in _blocks(answers.logits):
        found = answers.logits[part].float()
        of_target = found.gather(-1, answers.targets[part].unsqueeze(-1))
        above = (found > of_target).sum(-1)
        beneath = (found < of_target).sum(-1)
        below_first = (of_target - found.amax(-1, keepdim=True)).squeeze(-1)
        log_p = of_target.squeeze(-1) - found.logsumexp(-1)
        parts.append((log_p, below_first, above, beneath))
    return [TokenPlaces(*arrays) for arrays in _of_answers(parts, answers.lengths)]


def token_losses(answers: AnswerLogits) -> torch.Tensor:
    """Negative log-likelihood of each token, [tokens], in nats, with gradients."""
    return functional.cross_entropy(answers.logits.float(), answers.targets, reduction="none")


def answer_log_probabilities(answers: AnswerLogits) -> torch.Tensor:
    """Log-probability of each whole answer, [answers], in nats, with gradients."""
    losses = torch.split(token_losses(answers), answers.lengths)
    return -torch.stack([each.sum() for each in losses])


def _blocks(logits: torch.Tensor) -> Iterator[slice]:
    """Yield the rows that are turned to float32 at a time."""
    block = _ROWS
    if logits.device.type == "cpu":
        block = min(block, max(1, _CACHED // logits.shape[-1]))
    for start in range(0, len(logits), block):
        yield slice(start, start + block)


def _of_answers(
    parts: list[tuple[torch.Tensor, ...]], lengths: list[int]
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
    ends = np.cumsum(lengths)[:-1]
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
