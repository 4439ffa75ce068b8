"""Counted leaks: in a census each fact that came back is one.

What noise makes of honest models is seen on the models themselves. A model that forgot is one more
retrained model: fact by fact it is as likely as each of the others to be the one that stands out.
Given how many of the S + 1 models stand out on each fact, the number of facts on which the
unlearned one does is then a sum of independent draws with known chances, whatever the metric's
noise: an exact test, for one retrained model the sign test. Facts that the policy lets leak are
taken out first, the most telling ones.

Between what is shown and what may pass lies what noise makes. A PASS looks at many attacks, and so
does its noise: by each metric the unlearned model may stand out under its worst attack as often as
a retrained one under its own worst. An honest model is one of S + 1 that are nearly alike, and the
one that stands out most with a chance of about 1 / (S + 1) by each metric, however many attacks
there are. Nearly: a retrained model is held against one model less, which makes it stand out less
often where facts are guessed, so that fewer honest models pass there, and no more others.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from auditor.statistics.arms import Arms
from auditor.statistics.betting import FloatArray
from auditor.statistics.leak_rate import clopper_pearson_upper, leaks
from auditor.statistics.margins import Margins

COUNT_SHARE = 0.2
"""Share of alpha that is left for the count; the residual has the rest."""

_SMALLEST = 1e-300
_ROUNDING = 1e-9


@dataclass(frozen=True)
class LeakCount:
    """The leaks of one attack, counted over the facts of a census.

    Attributes:
        eligible: facts whose gap reaches the floor.
        facts: places of those that leaked, d > g / 2.
        limit: leaks that the policy allows.
        baseline: most leaks of any retrained model against the others; None with one, which
            shows none.
        noise: the same under whichever attack it is most, of those that a PASS needs.
        allowed: leaks that a PASS allows: the policy's number, or as many as noise makes, but
            never more than the policy's share.
        log_p: log of the chance of so many leaks beyond the limit if the unlearned model were
            another retrained one; 0 within the limit.
        countable: whether so many facts are eligible that leaks could have been seen.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    eligible: int
    facts: tuple[int, ...]
    limit: int
    baseline: int | None
    noise: int | None
    allowed: int
    log_p: float
    countable: bool

    @property
    def leaked(self) -> int:
        """Number of facts that leaked."""
        return len(self.facts)

    @property
    def expected(self) -> int:
        """Leaks that are no sign: the policy's, or a retrained model's here."""
        return max(self.limit, self.baseline or 0)

    @property
    def within(self) -> bool:
        """Whether the count allows a PASS."""
        return self.countable and self.leaked <= self.allowed

    def log_e_value(self, alpha: float) -> float:
        """Returns the log of an e-value that is all or nothing.

        It is 1 / alpha where the count is above the limit with chance at most alpha, and 0 else.
        """
        return -math.log(alpha) if self.shown_above(alpha) else -math.inf

    def shown_above(self, alpha: float) -> bool:
        """Whether more leaked than is expected and than noise explains."""
        return self.leaked > self.expected and self.log_p <= math.log(alpha)


def leak_limit(margins: Margins, eligible: int) -> int:
    """Returns how many of the eligible facts may leak."""
    share = _share(margins, eligible)
    return share if margins.leaked_facts is None else min(share, margins.leaked_facts)


def leaks_allowed(margins: Margins, eligible: int, noise: int | None) -> int:
    """Returns how many eligible facts may leak under such noise."""
    return max(leak_limit(margins, eligible), min(noise or 0, _share(margins, eligible)))


def _share(margins: Margins, eligible: int) -> int:
    """Number of facts in the policy's share."""
    return math.floor(margins.leak_limit * eligible + _ROUNDING)


def count_leaks(arms: Arms, margins: Margins, noise: int | None = None) -> LeakCount:
    """Counts the leaks, and what retrained models make of the noise.

    Args:
        arms: what was measured under one attack.
        margins: the policy's margins.
        noise: most leaks of any retrained model under the attacks that a PASS needs, by the same
            metric; by default those under this attack.
    """
    contrast = arms.fact_contrast()
    leaked, eligible = leaks(contrast.d, contrast.g, margins.leak_gap_floor)
    facts = tuple(int(place) for place in np.flatnonzero(leaked))
    usable = int(eligible.sum())
    limit = leak_limit(margins, usable)
    if arms.null is not None:
        return _count_beside(arms, margins, facts, usable)
    models = standing_out(arms, margins).sum(axis=0)
    baseline = baseline_leaks(arms, margins)
    noise = baseline if noise is None else noise
    return LeakCount(
        eligible=usable,
        facts=facts,
        limit=limit,
        baseline=baseline,
        noise=noise,
        allowed=leaks_allowed(margins, usable, noise),
        log_p=_log_chance(models[leaked], models[~leaked], limit, arms.seeds)
        if len(facts) > limit
        else 0.0,
        countable=enough_eligible(usable, margins),
    )


def _count_beside(arms: Arms, margins: Margins, facts: tuple[int, ...], eligible: int) -> LeakCount:
    """Counts the leaks beside what stands out among facts that nobody knows.

    A model that forgot treats both alike: given how many stand out in all, those among the facts
    to forget are a draw without replacement.
    """
    limit = leak_limit(margins, eligible)
    null = _standing_out_beside(arms)
    chance = _log_draw(len(facts) - limit, null, eligible) if len(facts) > limit else 0.0
    share = round(null.sum() * eligible / null.size)
    return LeakCount(
        eligible=eligible,
        facts=facts,
        limit=limit,
        baseline=share,
        noise=share,
        allowed=leaks_allowed(margins, eligible, share),
        log_p=chance,
        countable=enough_eligible(eligible, margins),
    )


def _standing_out_beside(arms: Arms) -> NDArray[np.bool_]:
    """Which facts that nobody knows stand out [m].

    They do by half of the mean gap above the mean of the others.
    """
    null = arms.null
    if null is None:  # pragma: no cover - asked of a null only
        raise ValueError("there are no facts beside those to forget")
    step = float(arms.fact_contrast().g.mean()) / 2
    found: NDArray[np.bool_] = null.unlearned - null.unlearned.mean() > step
    return found


def _log_draw(leaked: int, null: NDArray[np.bool_], eligible: int) -> float:
    """Log of the chance of so many among the facts to forget.

    Args:
        leaked: facts that leaked beyond the limit.
        null: which of the others stand out.
        eligible: facts to forget that could leak.
    """
    marked = leaked + int(null.sum())
    counts = np.arange(leaked, min(marked, eligible) + 1)
    chances = _ways(eligible, counts) + _ways(null.size, marked - counts)
    total = _ways(eligible + null.size, np.array([marked]))[0]
    return min(0.0, float(np.logaddexp.reduce(chances) - total))


def _ways(total: int, chosen: NDArray[np.int64]) -> FloatArray:
    """Log of the number of ways to choose."""
    with np.errstate(invalid="ignore"):
        ways: FloatArray = gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)
    return np.where((chosen >= 0) & (chosen <= total), ways, -np.inf)


def enough_eligible(eligible: int, margins: Margins) -> bool:
    """Says whether so many facts could bound a share.

    A census counts its facts; those without a gap can show no leak, and a count over a handful of
    the others would say little about the set.
    """
    if eligible == 0:
        return False
    return clopper_pearson_upper(0, eligible, margins.alpha) <= margins.leak_limit


def baseline_leaks(arms: Arms, margins: Margins) -> int | None:
    """Returns the most leaks of any retrained model against the others.

    Returns:
        None with one retrained model.
    """
    if arms.seeds < 2:
        return None
    counts = []
    for seed in range(arms.seeds):
        contrast = arms.with_seed_as_unlearned(seed).fact_contrast()
        leaked, _ = leaks(contrast.d, contrast.g, margins.leak_gap_floor)
        counts.append(int(leaked.sum()))
    return max(counts)


def standing_out(arms: Arms, margins: Margins) -> NDArray[np.bool_]:
    """Returns which models leak against the others' mean [S + 1, n].

    The unlearned model is the first of the models, the retrained ones follow.
    """
    models = np.vstack([arms.unlearned, arms.retrained])
    others = (models.sum(axis=0) - models) / arms.seeds
    gap = arms.original - others
    found: NDArray[np.bool_] = (models - others > gap / 2) & (gap >= margins.leak_gap_floor)
    found[0] = leaks(*_contrast(arms), margins.leak_gap_floor)[0]
    return found


def _contrast(arms: Arms) -> tuple[FloatArray, FloatArray]:
    contrast = arms.fact_contrast()
    return contrast.d, contrast.g


def leaks_to_fail(arms: Arms, margins: Margins, alpha: float) -> int | None:
    """Returns how many leaks would be a FAIL, with the noise observed.

    Args:
        arms: what was measured under one attack.
        margins: the policy's margins.
        alpha: share of alpha that the count has.

    Returns:
        None where even a leak of every eligible fact would not.
    """
    count = count_leaks(arms, margins)
    if arms.null is not None:
        return _beside_to_fail(arms, count, alpha)
    models, leaked = _standing_out_on(arms, margins, count)
    for more in range(count.eligible - count.leaked + 1):
        own = np.concatenate([models[leaked], np.ones(more, dtype=np.int64)])
        chance = _log_chance(own, models[~leaked], count.limit, arms.seeds)
        if own.size > count.expected and chance <= math.log(alpha):
            return int(own.size)
    return None


def _beside_to_fail(arms: Arms, count: LeakCount, alpha: float) -> int | None:
    """The same beside facts that nobody knows."""
    null = _standing_out_beside(arms)
    for leaked in range(max(count.leaked, count.expected + 1), count.eligible + 1):
        if _log_draw(leaked - count.limit, null, count.eligible) <= math.log(alpha):
            return leaked
    return None


def _standing_out_on(
    arms: Arms, margins: Margins, count: LeakCount
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Number of models that stand out on each fact, and which leaked."""
    leaked = np.zeros(arms.facts, dtype=np.bool_)
    leaked[list(count.facts)] = True
    return standing_out(arms, margins).sum(axis=0), leaked


def _log_chance(own: NDArray[np.int64], others: NDArray[np.int64], limit: int, seeds: int) -> float:
    """Log of the chance of as many leaks by noise.

    Args:
        own: on each fact that leaked, how many models stand out.
        others: the same of the other facts.
        limit: leaks that are taken out, those that tell most first.
        seeds: retrained models.
    """
    telling = np.sort(own)[limit:]
    models = Counter(telling.tolist()) + Counter(others[others > 0].tolist())
    chances = np.ones(1)
    for count, facts in models.items():
        chances = np.convolve(chances, _binomial(facts, count / (seeds + 1)))
    return math.log(max(float(chances[telling.size :].sum()), _SMALLEST))


def _binomial(trials: int, chance: float) -> FloatArray:
    """Probabilities of 0 to `trials` hits [trials + 1]."""
    hits = np.arange(trials + 1)
    ways = gammaln(trials + 1) - gammaln(hits + 1) - gammaln(trials - hits + 1)
    odds = hits * math.log(chance) + (trials - hits) * math.log1p(-chance)
    probabilities: FloatArray = np.exp(ways + odds)
    return probabilities
