"""Number of facts that a PASS or a FAIL needs.

The pilot is the original and the retrained models on the facts at hand. A model that forgot
(residual 0) is played by one retrained model against the others, with the roles exchanged as
well, and audits of n facts are drawn from the pilot with replacement. The spread of the
pilot's facts and of its seeds is all the noise there is: the figure is an estimate, made
before the audit, and no part of any verdict.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from auditor.core.messages import Message, message
from auditor.statistics.arms import Arms, Scope, entity_means
from auditor.statistics.betting import LAMBDA_GRID, FloatArray, log_threshold
from auditor.statistics.leak_count import count_leaks, enough_eligible, leaks_allowed
from auditor.statistics.leak_rate import leaks
from auditor.statistics.margins import Margins
from auditor.statistics.seeds import SeedSpread, seed_spread

Joint = Literal["dependent", "independent"]

LARGEST_N = 20_000
_GRID = sorted({round(1.08**step) for step in range(129)} | {LARGEST_N})


@dataclass(frozen=True)
class FactsNeeded:
    """Number of units that a PASS or a FAIL needs.

    Units are facts, or entities in sampled scope.

    Attributes:
        needed: least n of the search grid with the target power; None where the noise is not
            known (one retrained model) or where no n up to 20,000 has it.
        at_least: lower bound that holds without any noise; None where the mean gap is not
            above 0, so that nothing can be decided.
        available: units in the pilot.
        power_available: chance of that verdict with the units in the pilot; None without noise.
        target: power asked for, of all attacks together.
        basis: what the figure rests on.
    """

    needed: int | None
    at_least: int | None
    available: int
    power_available: float | None
    target: float
    basis: Message


@dataclass(frozen=True, eq=False)
class _Scenario:
    """Terms of the tests per unit.

    An audit of n units is a row of counts times these.
    """

    residual: FloatArray
    sensitivity: FloatArray
    leaks: FloatArray
    clustered: bool
    noise: int | None
    """Leaks that noise makes, where they are counted."""


def zero_noise_bound(gap: float, margins: Margins) -> int | None:
    """Returns the n below which no audit passes.

    It holds even with no noise at all.

    max of ln(1/alpha) / ln(1 + delta * gap), ln(alpha) / ln(1 - delta) (any test that is valid
    against sparse leaks) and ln(alpha) / ln(1 - leak_limit) (the leak rate's own bound).

    Args:
        gap: mean of g, in units of K; None is returned where it is not above 0.
        margins: the policy's margins.
    """
    if gap <= 0.0:
        return None
    nats = log_threshold(margins.alpha)
    return math.ceil(
        max(
            nats / math.log1p(margins.delta * gap),
            -nats / math.log1p(-margins.delta),
            -nats / math.log1p(-margins.leak_limit),
        )
    )


def facts_needed(
    original: FloatArray,
    retrained: FloatArray,
    margins: Margins,
    *,
    scope: Scope = "census",
    entities: Sequence[str] | None = None,
    attacks: int = 1,
    joint: Joint = "independent",
    target: float = 0.8,
    repetitions: int = 400,
    seed: int = 0,
) -> FactsNeeded:
    """Returns the n that gives residual 0 the target chance.

    The chance is that of a PASS.

    Args:
        original: K of the original model per fact [n].
        retrained: K of the retrained models [S, n]; the noise needs S >= 2.
        margins: the policy's margins.
        scope: what the units are.
        entities: the entity of each fact [n], in sampled scope.
        attacks: J mandatory attacks like this one, which must all pass.
        joint: "independent" asks target ** (1/J) of each (cautious); "dependent" assumes that
            they pass and fail together and asks the target itself.
        target: power asked for, of all J attacks together.
        repetitions: simulated audits a candidate n.
        seed: seed of the simulation.
    """
    pilot = _pilot(original, retrained, entities)
    gap = pilot.contrast(scope)
    at_least = zero_noise_bound(float(gap.g.mean()), margins)
    if pilot.seeds < 2:
        basis = message("lower_bound_without_noise")
        return FactsNeeded(None, at_least, gap.units, None, target, basis)
    each = target ** (1.0 / attacks) if joint == "independent" else target
    power = _power_function(pilot, margins, scope, repetitions, seed)
    together = attacks if joint == "independent" else 1
    basis = message(
        "no_residual_and_noise_of_retrained",
        retrained=pilot.seeds,
        audits=repetitions,
        attacks=attacks,
        joint=joint,
    )
    return FactsNeeded(
        needed=_smallest(power, each),
        at_least=at_least,
        available=gap.units,
        power_available=power(gap.units) ** together,
        target=target,
        basis=basis,
    )


def power_at(
    n: int,
    original: FloatArray,
    retrained: FloatArray,
    margins: Margins,
    *,
    scope: Scope = "census",
    entities: Sequence[str] | None = None,
    repetitions: int = 400,
    seed: int = 0,
) -> float | None:
    """Returns the chance that one attack passes with n units.

    The residual is 0.

    Returns:
        A share in [0, 1]; None with one retrained model, whose noise is not known.
    """
    pilot = _pilot(original, retrained, entities)
    if pilot.seeds < 2:
        return None
    return _power_function(pilot, margins, scope, repetitions, seed)(n)


def facts_needed_as_observed(
    arms: Arms,
    margins: Margins,
    scope: Scope,
    *,
    noise: int | None = None,
    target: float = 0.8,
    repetitions: int = 200,
    seed: int = 0,
) -> FactsNeeded:
    """Returns the n that would PASS with more such facts.

    Further facts are assumed to be like those measured on all arms.

    For the sentence under an INCONCLUSIVE: the residual is the one observed, not 0.

    Args:
        arms: what was measured under one attack.
        margins: the policy's margins.
        scope: what the units are.
        noise: leaks that count as noise; by default those of a retrained model under this attack.
        target: power asked for.
        repetitions: simulated audits a candidate n.
        seed: seed of the simulation.
    """
    contrast, spread = arms.observed(scope), seed_spread(arms, margins, scope)
    scenario = _scenario(arms, margins, scope, spread, noise)
    scenarios = [] if scenario is None else [scenario]

    def power(n: int) -> float:
        return _power(scenarios, n, margins, spread, repetitions, seed)

    return FactsNeeded(
        needed=_smallest(power, target),
        at_least=zero_noise_bound(float(contrast.g.mean()), margins),
        available=contrast.units,
        power_available=power(contrast.units),
        target=target,
        basis=message("further_facts_as_measured", audits=repetitions),
    )


def facts_needed_to_fail(
    arms: Arms,
    margins: Margins,
    scope: Scope,
    alpha: float,
    *,
    target: float = 0.8,
    repetitions: int = 200,
    seed: int = 0,
) -> FactsNeeded:
    """Returns the n that would FAIL with further facts like those measured.

    Args:
        arms: what was measured under one attack.
        margins: the policy's margins.
        scope: what the units are.
        alpha: share of alpha that the attack has; it is to FAIL the model by itself.
        target: power asked for.
        repetitions: simulated audits a candidate n.
        seed: seed of the simulation.
    """
    contrast = arms.observed(scope)
    residual = _bets(-contrast.against(margins.delta))
    gap = _bets((margins.minimum_gap - contrast.g) / (1.0 + margins.minimum_gap))

    def power(n: int) -> float:
        counts = _resampled(contrast.units, n, repetitions, np.random.default_rng([seed, n]))
        reached = _reached(counts @ residual, alpha) & _reached(counts @ gap, margins.alpha)
        return float(reached.mean())

    largest = (1.0 - margins.delta) * float(contrast.g.mean())
    return FactsNeeded(
        needed=_smallest(power, target),
        at_least=math.ceil(log_threshold(alpha) / math.log1p(largest)) if largest > 0 else None,
        available=contrast.units,
        power_available=power(contrast.units),
        target=target,
        basis=message("further_facts_as_measured", audits=repetitions),
    )


def _resampled(units: int, n: int, audits: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each unit is drawn [audits, units]."""
    return rng.multinomial(n, np.full(units, 1.0 / units), size=audits).astype(np.float64)


def _pilot(original: FloatArray, retrained: FloatArray, entities: Sequence[str] | None) -> Arms:
    named = None if entities is None else tuple(entities)
    return Arms(np.asarray(retrained)[0], original, retrained, named)


def _power_function(
    pilot: Arms, margins: Margins, scope: Scope, repetitions: int, seed: int
) -> Callable[[int], float]:
    spread = seed_spread(pilot, margins, scope)
    played: list[_Scenario] = []
    for row in range(pilot.seeds):
        above = pilot.with_seed_as_unlearned(row)
        others = above.retrained.mean(axis=0)
        below = Arms(others, pilot.original, above.unlearned[None], pilot.entities)
        for arms in (above, below):
            scenario = _scenario(arms, margins, scope, spread)
            if scenario is not None:
                played.append(scenario)
    return lambda n: _power(played, n, margins, spread, repetitions, seed)


def _scenario(
    arms: Arms, margins: Margins, scope: Scope, spread: SeedSpread, noise: int | None = None
) -> _Scenario | None:
    contrast = arms.observed(scope)
    if spread.delta is None or contrast.g.mean() <= 0.0:
        return None
    required = margins.gap_required(float(contrast.g.mean()))
    facts = arms.fact_contrast()
    leaked, eligible = leaks(facts.d, facts.g, margins.leak_gap_floor)
    clusters = arms.clusters(scope)
    counted = clusters is None and margins.counts_leaks(scope)
    if clusters is None:
        leak_terms = np.stack([leaked, eligible], axis=1).astype(np.float64)
    else:
        leak_terms = _leak_share_bets(leaked, eligible, clusters, margins.leak_limit)
    return _Scenario(
        residual=_bets(contrast.against(spread.delta)),
        sensitivity=_bets((required - contrast.g) / (1.0 + required)),
        leaks=leak_terms,
        clustered=clusters is not None,
        noise=(count_leaks(arms, margins, noise).noise or 0) if counted else None,
    )


def _leak_share_bets(
    leaked: NDArray[np.bool_], eligible: NDArray[np.bool_], clusters: Sequence[str], limit: float
) -> FloatArray:
    weight = entity_means(eligible.astype(np.float64), clusters)
    hit = entity_means(leaked.astype(np.float64), clusters)
    share = np.divide(hit, weight, out=np.zeros_like(hit), where=weight > 0.0)
    return _bets(np.where(weight > 0.0, share - limit, 0.0))


def _bets(z: FloatArray) -> FloatArray:
    """Log of 1 - lambda z per unit and lambda [n, 20]."""
    bets: FloatArray = np.log1p(-np.outer(np.clip(z, -1.0, 1.0), LAMBDA_GRID))
    return bets


def _power(
    scenarios: list[_Scenario],
    n: int,
    margins: Margins,
    spread: SeedSpread,
    repetitions: int,
    seed: int,
) -> float:
    if not scenarios:
        return 0.0
    rng = np.random.default_rng([seed, n])
    passed = total = 0
    for scenario in scenarios:
        audits = -(-repetitions // len(scenarios))
        counts = _resampled(scenario.residual.shape[0], n, audits, rng)
        verdicts = _reached(counts @ scenario.residual, spread.alpha)
        verdicts &= _reached(counts @ scenario.sensitivity, margins.alpha)
        verdicts &= _leaks_in_bounds(scenario, counts @ scenario.leaks, margins)
        passed, total = passed + int(verdicts.sum()), total + audits
    return passed / total


def _leaks_in_bounds(scenario: _Scenario, tally: FloatArray, margins: Margins) -> NDArray[np.bool_]:
    """Says of each audit whether its leaks allow a PASS."""
    if scenario.clustered:
        return _reached(tally, margins.alpha)
    leaked, eligible = tally[:, 0], tally[:, 1]
    if scenario.noise is None:
        safe = np.maximum(eligible - leaked, 0.5)
        upper = betaincinv(leaked + 1.0, safe, 1.0 - margins.alpha)
        within: NDArray[np.bool_] = np.where(eligible > leaked, upper, 1.0) <= margins.leak_limit
        return within
    allowed = [leaks_allowed(margins, int(count), scenario.noise) for count in eligible]
    enough = [enough_eligible(int(count), margins) for count in eligible]
    within = (leaked <= np.array(allowed)) & np.array(enough)
    return np.asarray(within, dtype=np.bool_)


def _reached(log_products: FloatArray, alpha: float) -> NDArray[np.bool_]:
    log_e = np.logaddexp.reduce(log_products, axis=1) - math.log(LAMBDA_GRID.size)
    reached: NDArray[np.bool_] = log_e >= log_threshold(alpha)
    return reached


def _smallest(power: Callable[[int], float], target: float) -> int | None:
    """Returns the smallest n with the target power, by bisection.

    Power rises with n but for the noise of the simulation.
    """
    low, high = 0, len(_GRID) - 1
    if power(_GRID[high]) < target:
        return None
    while low < high:
        middle = (low + high) // 2
        if power(_GRID[middle]) >= target:
            high = middle
        else:
            low = middle + 1
    return _GRID[low]
