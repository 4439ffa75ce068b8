"""Figures of one reading of an attack.

They are the knowledge of each arm, the gap, the residual and the leaks.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from auditor.statistics.arms import Arms, Scope
from auditor.statistics.betting import log_e_value, mean_lower, residual_lower, residual_upper
from auditor.statistics.leak_count import COUNT_SHARE, LeakCount, count_leaks
from auditor.statistics.leak_rate import LeakRate
from auditor.statistics.margins import Margins
from auditor.statistics.seeds import SeedSpread, SeedTrial, leak_of, seed_spread, self_test


@dataclass(frozen=True)
class AttackFigures:
    """Figures of a measured reading.

    Log e-values are natural logs; K and gaps are in [0, 1].

    Attributes:
        facts: number of facts.
        units: number of units tested: facts (census) or entities (sampled).
        gap_mean: mean of g over units.
        gap_lower: lower bound of E[g] at alpha.
        gap_required: what gap_lower must reach; None where the as-is gap is not known.
        rho: mean d / mean g; None where the mean gap is not above 0.
        rho_lower: lower bound at alpha; None where no residual was shown.
        rho_lower_shared: lower bound at the share of alpha that the reading has in a FAIL.
        rho_upper: upper bound at alpha, with the spread over seeds from three seeds on; None
            where the residual is not bounded below 1. No bound is given unless gap_lower > 0.
        log_e_pass: log e-value for "the residual is below the (shrunk) delta"; None where no delta
            is left.
        log_e_fail: log e-value for "the residual is above delta" or, where leaks are counted,
            "more facts leak than the limit allows": of a mean of both, in the shares of alpha
            that they have.
        log_e_over: log e-value for "the residual is below -delta".
        leak: leak rate over facts.
        spread: spread between retrained models and what it leaves of delta.
        self_test: each retrained model against the others; mandatory attacks only.
        leak_count: the leaks one by one; None where they are bounded, and not counted.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    facts: int
    units: int
    gap_mean: float
    gap_lower: float
    gap_required: float | None
    rho: float | None
    rho_lower: float | None
    rho_lower_shared: float | None
    rho_upper: float | None
    log_e_pass: float | None
    log_e_fail: float
    log_e_over: float
    leak: LeakRate
    spread: SeedSpread
    self_test: tuple[SeedTrial, ...]
    leak_count: LeakCount | None = None


def measure(
    arms: Arms,
    margins: Margins,
    scope: Scope,
    *,
    no_attack_gap: float | None,
    tests: int,
    mandatory: bool,
    noise: int | None = None,
) -> AttackFigures:
    """Returns the figures of one reading.

    Args:
        arms: the evidence.
        margins: the policy's margins.
        scope: what the units are.
        no_attack_gap: mean gap of the model as it is, or None where it was not measured.
        tests: parts of alpha of which this reading has one in a FAIL.
        mandatory: whether the retrained models are also tested against each other.
        noise: most leaks of any retrained model by the same metric, under whichever attack.
    """
    contrast = arms.contrast(scope)
    d, g = contrast.d, contrast.g
    spread = seed_spread(arms, margins, scope)
    counted = margins.counts_leaks(scope) and arms.blocks is None
    count = count_leaks(arms, margins, noise) if counted else None
    of_residual = 1.0 - COUNT_SHARE if counted else 1.0
    gap_mean, gap_lower = float(g.mean()), mean_lower(g, margins.alpha)
    lower = shared = upper = None
    if gap_lower > 0.0:
        apart = contrast.apart
        lower = residual_lower(d, g, margins.alpha, apart=apart)
        shared = residual_lower(d, g, of_residual * margins.alpha / tests, apart=apart)
        upper = residual_upper(d, g, spread.alpha, apart=apart)
        if upper is not None and spread.shrinkage is not None:
            upper = upper + spread.shrinkage if upper + spread.shrinkage < 1.0 else None
    return AttackFigures(
        facts=arms.facts,
        units=contrast.units,
        gap_mean=gap_mean,
        gap_lower=gap_lower,
        gap_required=None if no_attack_gap is None else margins.gap_required(no_attack_gap),
        rho=float(d.mean()) / gap_mean if gap_mean > 0.0 else None,
        rho_lower=lower,
        rho_lower_shared=shared,
        rho_upper=upper,
        log_e_pass=None if spread.delta is None else log_e_value(contrast.against(spread.delta)),
        log_e_fail=_log_e_fail(
            log_e_value(-contrast.against(margins.delta)), count, margins, tests
        ),
        log_e_over=log_e_value(contrast.over_forgetting(margins.delta)),
        leak=leak_of(arms, margins, scope),
        leak_count=count,
        spread=spread,
        self_test=self_test(arms, margins, scope) if mandatory else (),
    )


def _log_e_fail(residual: float, count: LeakCount | None, margins: Margins, tests: int) -> float:
    """Log of the mean e-value of residual and count, by shares."""
    if count is None:
        return residual
    counted = count.log_e_value(COUNT_SHARE * margins.alpha / tests)
    return float(np.logaddexp(math.log1p(-COUNT_SHARE) + residual, math.log(COUNT_SHARE) + counted))
