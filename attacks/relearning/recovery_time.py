"""Steps until a fact is known, with censoring at a limit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import CensoredData, ecdf, logrank

_ROUNDING = 1e-9
"""Largest error of a product of survival shares that counts as one half."""


@dataclass(frozen=True)
class RecoveryTimes:
    """Times at which the facts of one arm were first known."""

    known_after: dict[int, int]
    """Optimiser step to the number of facts that were first known then."""
    never: int
    """Facts that were not known at the limit (censored there)."""
    limit: int

    @property
    def censored(self) -> CensoredData:
        """Times for scipy, censored at the limit."""
        steps = [step for step, count in self.known_after.items() for _ in range(count)]
        return CensoredData(uncensored=steps, right=[self.limit] * self.never)

    @property
    def median(self) -> float | None:
        """Kaplan-Meier median of the times, or None.

        It is the first step at which half of the facts or more were known.
        """
        unknown = ecdf(self.censored).sf
        reached = np.flatnonzero(unknown.probabilities <= 0.5 + _ROUNDING)
        return float(unknown.quantiles[reached[0]]) if len(reached) else None


def speed(step: int | None, limit: int) -> float:
    """Return K of a fact first known at ``step``.

    It is 1 - step / limit.

    It is at least 0, and 0 for a fact that was never known (None).
    """
    return 0.0 if step is None else 1.0 - step / limit


def faster(times: RecoveryTimes, others: RecoveryTimes) -> float | None:
    """One-sided p of the log-rank test for faster recovery.

    The null hypothesis is that ``times`` recover no faster than ``others``.

    None where it is not defined: nothing was ever known, or both knew all at once.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = float(logrank(times.censored, others.censored, alternative="greater").pvalue)
    return None if math.isnan(p) else p


def first_known(steps: Sequence[int], known: Sequence[set[str]], fact: str) -> int | None:
    """First of ``steps`` at which ``fact`` is known, or None."""
    return next((s for s, now in zip(steps, known, strict=True) if fact in now), None)
