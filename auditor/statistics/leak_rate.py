"""The share of facts that came back: averages cancel, this does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from auditor.statistics.arms import entity_means
from auditor.statistics.betting import finite_vector, residual_upper


@dataclass(frozen=True)
class LeakRate:
    """Leak rate with an upper confidence bound on the share.

    Attributes:
        leaked: eligible facts with d > g / 2.
        eligible: facts whose gap g reaches the floor.
        rate: leaked / eligible; None without eligible facts.
        upper: upper bound on the share, in [0, 1]; 1.0 without eligible facts.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    leaked: int
    eligible: int
    rate: float | None
    upper: float

    def within(self, limit: float) -> bool:
        """Returns whether the bound is at most `limit`.

        It never is without eligible facts.
        """
        return self.eligible > 0 and self.upper <= limit


def clopper_pearson_upper(count: int, n: int, alpha: float) -> float:
    """Return the exact one-sided upper bound on a binomial share.

    The confidence is 1 - alpha.

    Worked out with ``scipy.special``: ``scipy.stats``, whose ``binomtest`` gives the same numbers,
    takes half a second to import, which every ``gate`` and ``verify`` would wait for.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is not a share")
    return 1.0 if count == n else float(betaincinv(count + 1, n - count, 1.0 - alpha))


def leaks(
    d: ArrayLike, g: ArrayLike, gap_floor: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns which facts leaked and which are eligible, each [n].

    A fact leaked where d > g / 2, and is eligible where its gap is.
    """
    delta, gap = finite_vector(d, "d"), finite_vector(g, "g")
    eligible = gap >= gap_floor
    return (delta > gap / 2) & eligible, eligible


def leak_rate(
    d: ArrayLike,
    g: ArrayLike,
    *,
    alpha: float,
    gap_floor: float,
    entities: Sequence[str] | None = None,
) -> LeakRate:
    """Returns the share of eligible facts that leaked.

    A fact leaked where d > g / 2, and is eligible where g >= `gap_floor`.

    Without `entities` the facts are the units and the bound is Clopper-Pearson. With
    `entities` (sampled scope) facts of one entity are not independent and a binomial bound
    would be too small, while averaging d within entities first would hide the very leaks this
    looks for; so each entity gives the share of its facts that leaked, and the bound is the
    betting bound (arXiv 2010.09686) on the mean of those shares over entities.

    Args:
        d: K_unlearned - K_retrained per fact [n], before any averaging.
        g: K_original - K_retrained per fact [n].
        alpha: chance of a bound below the true share.
        gap_floor: least gap of an eligible fact, in units of K.
        entities: the entity of each fact [n], in sampled scope.
    """
    leaked, eligible = leaks(d, g, gap_floor)
    count, n = int(leaked.sum()), int(eligible.sum())
    if n == 0:
        return LeakRate(0, 0, None, 1.0)
    if entities is None:
        return LeakRate(count, n, count / n, clopper_pearson_upper(count, n, alpha))
    of_eligible = np.asarray(entities, dtype=str)[eligible]
    shares = entity_means(leaked[eligible].astype(np.float64), of_eligible.tolist())
    upper = residual_upper(shares, np.ones_like(shares), alpha)
    return LeakRate(count, n, count / n, 1.0 if upper is None else upper)
