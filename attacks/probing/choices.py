"""Choice of true answers, learned from where their tokens stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from auditor.models.language.scoring import TokenPlaces

Floats = npt.NDArray[np.float64]

PENALTIES = tuple(10.0 ** (power / 2) for power in range(-8, 1))
"""Ridge penalties that are tried, per fact; beside them that nothing is learned."""
PARTS = 5
"""Parts into which the fitted facts are dealt to choose the penalty."""
BEYOND = 1.0
"""Standard errors by which held-out facts must be told better than by chance, else nothing is
learned."""

_RANKS = (0, 1, 2, 3, *(2**power for power in range(2, 18)))
"""First place of each group of ranks, counted from 0 at either end."""
_LEAST = -16.0
"""Logarithm of a probability below which all are alike."""
_ROUNDING = 1e-9
_WIDTH = 1.0
"""Width of a band of probability, as a logarithm."""


def _names() -> tuple[str, ...]:
    ends = [*_RANKS[1:], None]
    groups = [
        f"{start + 1}"
        if end == start + 1
        else f"{start + 1} and more"
        if end is None
        else f"{start + 1} to {end}"
        for start, end in zip(_RANKS, ends, strict=True)
    ]
    edges = -np.arange(0.0, -_LEAST, _WIDTH)
    bands = [f"{np.exp(edge - _WIDTH):.2g} to {np.exp(edge):.2g}" for edge in edges]
    own = [
        *(f"rank {group}" for group in groups),
        *(f"rank from the end {group}" for group in groups),
        *(f"probability {band}" for band in (*bands, f"below {np.exp(_LEAST):.2g}")),
        "log probability",
        "log ratio to the first",
        "log rank",
        "log rank from the end",
    ]
    return (*own, *(f"first token: {name}" for name in own))


def features(places: TokenPlaces) -> Floats:
    """Where an answer's tokens stand, in the mean and first, [p].

    Groups of ranks from either end and bands of probability are 0 or 1 for each token, so that any
    place can be learned, whatever stands before it and after it.
    """
    of_tokens = np.concatenate(
        [
            _groups(places.above),
            _groups(places.beneath),
            _bands(places.log_probability),
            np.stack(
                [
                    np.maximum(places.log_probability, _LEAST) / _LEAST,
                    np.maximum(places.below_first, _LEAST) / _LEAST,
                    np.log1p(places.above) / -_LEAST,
                    np.log1p(places.beneath) / -_LEAST,
                ],
                axis=1,
            ),
        ],
        axis=1,
    )
    return np.concatenate([of_tokens.mean(axis=0), of_tokens[0]])


NAMES = _names()
"""Name of each feature."""


def _groups(counts: npt.NDArray[np.int64]) -> Floats:
    group = np.searchsorted(_RANKS, counts, side="right") - 1
    return np.asarray(np.eye(len(_RANKS))[group])


def _bands(log_probability: npt.NDArray[np.float32]) -> Floats:
    count = int(-_LEAST / _WIDTH)
    band = np.floor(-np.minimum(log_probability, 0.0) / _WIDTH).astype(np.int64)
    return np.asarray(np.eye(count + 1)[np.minimum(band, count)])


@dataclass(frozen=True)
class Chooser:
    """Weights of the features, by which a candidate is chosen.

    Attributes:
        weights: one a feature; all 0 where nothing was learned.
        penalty: ridge penalty; None where nothing was learned.
        gain: mean log-probability of the true answer beyond chance, on facts kept from the fit.
    """

    weights: Floats
    penalty: float | None
    gain: float

    def chances(self, candidates: Floats) -> Floats:
        """Probability of each fact's first candidate [n], of candidates [n, m, p]."""
        return np.asarray(np.exp(_log_chances(self.weights, candidates)[:, 0]))

    def share_chosen(self, candidates: Floats) -> float:
        """Share of facts whose first candidate is chosen; ties are shared evenly."""
        scores = candidates @ self.weights
        best = scores >= scores.max(axis=1, keepdims=True) - _ROUNDING
        return float((best[:, 0] / best.sum(axis=1)).mean())


def learned(candidates: Floats, parts: Sequence[int]) -> Chooser:
    """Learn to choose the first candidate of each fact among all.

    A conditional logistic regression with a ridge penalty. The penalty is the one by which facts
    of a part are told best that were kept from the fit; where none tells them better than chance,
    nothing is learned.

    Args:
        candidates: features of each fact's candidates, the true one first, [n, m, p].
        parts: part of each fact, for choosing the penalty.
    """
    part = np.asarray(parts)
    told = np.zeros((len(PENALTIES), len(candidates)))
    for index in sorted(set(parts)):
        start = np.zeros(candidates.shape[2])
        for row, penalty in reversed(list(enumerate(PENALTIES))):
            start = _fitted(candidates[part != index], penalty, start)
            told[row, part == index] = _log_chances(start, candidates[part == index])[:, 0]
    gains = told + np.log(candidates.shape[1])
    best = int(gains.mean(axis=1).argmax())
    gain = float(gains[best].mean())
    error = float(gains[best].std(ddof=1)) / np.sqrt(len(gains[best])) if len(part) > 1 else np.inf
    nothing = np.zeros(candidates.shape[2])
    if not gain > BEYOND * error:
        return Chooser(nothing, None, gain)
    return Chooser(_fitted(candidates, PENALTIES[best], nothing), PENALTIES[best], gain)


def _log_chances(weights: Floats, candidates: Floats) -> Floats:
    scores = candidates @ weights
    scores = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


def _fitted(candidates: Floats, penalty: float, start: Floats) -> Floats:
    """Weights of least penalised loss, searched from ``start``."""
    from scipy.optimize import minimize  # takes a while to import

    beyond = candidates - candidates[:, :1]

    def loss(weights: Floats) -> tuple[float, Any]:
        logs = _log_chances(weights, beyond)
        gradient = np.einsum("nm,nmp->p", np.exp(logs), beyond) / len(beyond)
        value = -logs[:, 0].mean() + 0.5 * penalty * weights @ weights
        return float(value), gradient + penalty * weights

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x)
