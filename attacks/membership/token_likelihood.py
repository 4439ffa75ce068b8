"""Membership scores of one text from its token likelihoods.

In all of them higher means "more of a member". MIMIR and open-unlearning orient them the other
way round (as losses); apart from the sign the formulas are MIMIR's.
"""

import math
import zlib

import numpy as np
import numpy.typing as npt

from auditor.models.language.scoring import TokenScores

Vector = npt.NDArray[np.float64]

_LEAST = float(np.finfo(np.float32).eps)
"""Least difference that float32 can tell of log-probabilities near 0, and of deviations."""


def loss(scores: TokenScores) -> float:
    """Mean log-probability per token, in nats: minus the loss (LOSS, arXiv 1709.01604)."""
    return scores.mean_log_probability


def zlib_ratio(scores: TokenScores, text: str) -> float:
    """Mean log-probability per byte of the text's zlib compression (arXiv 2012.07805).

    MIMIR divides the mean loss, not its sum, by the compressed length; so does this.
    """
    return scores.mean_log_probability / len(zlib.compress(text.encode()))


def min_k(scores: TokenScores, share: float) -> float:
    """Mean log-probability of the least probable tokens (Min-K% Prob, arXiv 2310.16789).

    Args:
        scores: scores of the text's tokens [T].
        share: share of the tokens that count, rounded down as in MIMIR, but at least one token.
    """
    return _mean_of_lowest(scores.log_probability.astype(np.float64), share)


def min_k_plus_plus(scores: TokenScores, share: float) -> float:
    """The same of log-probabilities standardised over the vocabulary (arXiv 2404.02936).

    z_t = (log p_t - mu_t) / sigma_t, with mean and deviation of log p under p itself.
    """
    deviation = np.maximum(scores.deviation.astype(np.float64), _LEAST)
    return _mean_of_lowest((scores.log_probability - scores.mean) / deviation, share)


def recall(alone: TokenScores, after_prefix: TokenScores) -> float:
    """Log-likelihood after a prefix of non-members over that without it (arXiv 2406.15968).

    Both are means per token and negative; a member loses more by the prefix, so its ratio is
    larger. MIMIR negates the ratio.
    """
    return after_prefix.mean_log_probability / min(alone.mean_log_probability, -_LEAST)


def logit(log_likelihood: Vector) -> Vector:
    """Logit log(p / (1 - p)) of p = exp(``log_likelihood``).

    It is LiRA's scaling (arXiv 2112.03570).

    Args:
        log_likelihood: mean log-probabilities, of any shape.
    """
    below_zero = np.minimum(log_likelihood, -_LEAST)
    return np.asarray(below_zero - np.log(-np.expm1(below_zero)))


def _mean_of_lowest(values: Vector, share: float) -> float:
    count = max(1, math.floor(share * len(values)))
    return float(np.partition(values, count - 1)[:count].mean())
