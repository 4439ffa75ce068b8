"""Retrained models differ by their training seed: what that costs a PASS.

One or two retrained models say nothing usable about the spread between seeds, so the verdict
holds relative to the supplied baseline. From three on, the margin shrinks by that spread. A
baseline whose members would not pass against each other is too noisy for the margin.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import stdtrit

from auditor.statistics.arms import Arms, Scope, entity_means
from auditor.statistics.betting import log_e_value, log_threshold
from auditor.statistics.leak_rate import LeakRate, leak_rate
from auditor.statistics.margins import Margins

SEEDS_FOR_SPREAD = 3

LEANS = math.log(2.0)
"""Log of the e-value from which a census takes a retrained model for one like the others. The proof
that a PASS needs is the unlearned model's own, against the mean of all; asked of every retrained
model under every attack and metric, it fails by chance somewhere in nearly each audit of a hundred
facts."""


@dataclass(frozen=True)
class SeedSpread:
    """Margin left for a PASS after the retrained models' spread.

    Attributes:
        seeds: number of retrained models S.
        s_rho: standard deviation over seeds of the mean K of a retrained model, in units of
            the gap; None below three seeds, or where the mean gap is not above 0.
        shrinkage: what is taken off the margin, in units of rho; 0.0 below three seeds, None
            where it cannot be computed.
        delta: the margin used for a PASS; None where no PASS is possible.
        alpha: the error left for the test over facts: alpha, or alpha / 2 from three seeds on.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    seeds: int
    s_rho: float | None
    shrinkage: float | None
    delta: float | None
    alpha: float


@dataclass(frozen=True)
class SeedTrial:
    """Trial of one retrained model as the unlearned one.

    It is audited against the others.

    Attributes:
        seed: row of the retrained model.
        log_e_pass: log e-value for its residual being below delta.
        leak: its leak rate.
        passed: whether it passed both tests.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    seed: int
    log_e_pass: float
    leak: LeakRate
    passed: bool


def seed_spread(arms: Arms, margins: Margins, scope: Scope) -> SeedSpread:
    """Shrinks delta for the spread between three or more seeds.

    It is shrunk by t_{S-1, 1-alpha/2} * s_rho / sqrt(S).

    The error is split: alpha / 2 for the seeds (roughly normal between runs), alpha / 2 for
    the facts. s_rho divides the spread of mean K_retrained by the mean gap; at residual rho
    the spread of rho itself is (1 - rho) times that, so this errs towards no PASS.
    """
    seeds = arms.seeds
    if seeds < SEEDS_FOR_SPREAD:
        return SeedSpread(seeds, None, 0.0, margins.delta, margins.alpha)
    half = margins.alpha / 2
    gap = float(arms.contrast(scope).g.mean())
    if gap <= 0.0:
        return SeedSpread(seeds, None, None, None, half)
    clusters = arms.clusters(scope)
    rows = [row if clusters is None else entity_means(row, clusters) for row in arms.retrained]
    s_rho = float(np.std([row.mean() for row in rows], ddof=1)) / gap
    shrinkage = float(stdtrit(seeds - 1, 1.0 - half)) * s_rho / math.sqrt(seeds)
    delta = margins.delta - shrinkage
    return SeedSpread(seeds, s_rho, shrinkage, delta if delta > 0.0 else None, half)


def self_test(arms: Arms, margins: Margins, scope: Scope) -> tuple[SeedTrial, ...]:
    """Audits each retrained model against the mean of the others.

    Delta is not shrunk. In a census, where leaks are counted, the evidence must lean to a residual
    below it (`LEANS`), and in a sample of entities show it; in both few leaks must be shown, so
    that a model that has seen some of the facts is no baseline.

    Returns:
        One trial a retrained model; empty with a single one, which has no others.
    """
    return tuple(
        _trial(seed, arms.with_seed_as_unlearned(seed), margins, scope)
        for seed in range(arms.seeds if arms.seeds > 1 else 0)
    )


def _trial(seed: int, arms: Arms, margins: Margins, scope: Scope) -> SeedTrial:
    log_e_pass = log_e_value(arms.contrast(scope).against(margins.delta))
    leak = leak_of(arms, margins, scope)
    needed = LEANS if margins.counts_leaks(scope) else log_threshold(margins.alpha)
    passed = log_e_pass >= needed and leak.within(margins.leak_limit)
    return SeedTrial(seed, log_e_pass, leak, passed)


def leak_of(arms: Arms, margins: Margins, scope: Scope) -> LeakRate:
    """Returns the leak rate of the unlearned arm under the policy's margins."""
    facts = arms.fact_contrast()
    return leak_rate(
        facts.d,
        facts.g,
        alpha=margins.alpha,
        gap_floor=margins.leak_gap_floor,
        entities=arms.clusters(scope),
    )
