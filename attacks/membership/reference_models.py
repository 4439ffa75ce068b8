"""Scores against reference models that never saw the forget set.

All take mean log-probabilities per token: ``own`` of the model [n], ``out`` of the references
[m, n]. A probability p of a text is exp of that mean: its likelihood per token, without which a
text's probability would only tell its length.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attacks.membership.token_likelihood import logit
from auditor.core.errors import UnavailableError

Vector = npt.NDArray[np.float64]

FEW = 32
"""References from which on LiRA's variance is each text's own (arXiv 2112.03570 shares it below
64)."""


def reference_sets(
    own: str, retrained: Sequence[str], given: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Reference models of an arm; every arm sees equally many.

    A retrained arm cannot be its own reference: it sees the other retrained arms. Any other arm
    sees them too with one left out, each in turn, and its K is averaged. Reference models that
    were given besides are in all sets.

    Args:
        own: the arm that is measured.
        retrained: names of the retrained arms.
        given: names of the further reference models.

    Raises:
        UnavailableError: the sets are empty.
    """
    if own in retrained:
        left_out: Sequence[str] = (own,)
    else:
        left_out = retrained or ("",)
    sets = tuple((*(r for r in retrained if r != out), *given) for out in left_out)
    if not sets[0]:
        raise UnavailableError(
            "every arm is compared with reference models that it is none of, and a retrained arm "
            "has none left; give another retrained model or a reference model (`references`)"
        )
    return sets


def ratio(own: Vector, out: Vector) -> Vector:
    """Log-probability less its mean under the references (arXiv 2012.07805; MIMIR: negated)."""
    return np.asarray(own - out.mean(axis=0))


def rmia_ratio(own: Vector, out: Vector, offline: float) -> Vector:
    """Ratio p / p(x) of offline RMIA (arXiv 2312.03262, eq. 10).

    p(x) is taken from OUT models alone.

    Args:
        own: log p of the model [n].
        out: log p of the references [m, n].
        offline: a in p(x) = ((1 + a) mean p_out + (1 - a)) / 2.
    """
    prior = 0.5 * ((1 + offline) * np.exp(out).mean(axis=0) + (1 - offline))
    return np.asarray(np.exp(own) / prior)


def rmia(ratios: Vector, population: Vector, gamma: float, *, same: bool = False) -> Vector:
    """Share of a population whose ratio a text exceeds by ``gamma``.

    Args:
        ratios: ratios of the texts [n].
        population: ratios of texts that no model has seen [z].
        gamma: 1 in ml_privacy_meter.
        same: the texts are the population: each is compared with the others.
    """
    beats = ratios[:, None] > gamma * population[None, :]
    if same:
        np.fill_diagonal(beats, False)
    return np.asarray(beats.sum(axis=1) / (len(population) - same), dtype=np.float64)


def lira(own: Vector, out: Vector) -> Vector:
    """Standardised distance of the logit from that of OUT models.

    The paper gives 1 - Pr[Z > phi] for Z ~ N(mu_out, sigma_out); this is the standardised
    (phi - mu_out) / sigma_out, which ranks alike and does not round to 1. With fewer than ``FEW``
    references the paper takes one sigma for all texts; it changes no rank, so it is left out.
    """
    phi = logit(out)
    distance = logit(own) - phi.mean(axis=0)
    if len(out) < FEW:
        return np.asarray(distance)
    return np.asarray(distance / phi.std(axis=0, ddof=1))
