"""Tests of the retrained models, which decide what counts as residual.

A retrained model that has seen forget facts, or that is the unlearned or the original model in
disguise, raises the baseline and hides exactly what an audit looks for. All tests are on knowledge
without attack, of the sets that were measured, by the metric that leads.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import gammaln

from auditor.core.arms import Arm
from auditor.core.messages import Message, message
from auditor.statistics.arms import Arms, Scope, entity_means
from auditor.statistics.betting import FloatArray, log_e_value, log_threshold, mean_lower
from auditor.statistics.leak_count import COUNT_SHARE, count_leaks
from auditor.statistics.leak_rate import clopper_pearson_upper
from auditor.statistics.margins import Margins

COPY_RATIO = 0.25
"""Distance to a model, as a share of that between retrained models, below which a retrained model
is taken for its copy."""
EQUAL_RATIO = 0.02
"""The same as a share of the distance to the original, which also differs by what was unlearned,
by lineage and by length of training: two runs are at 0.15 of it in the world `people`, two of one
seed that differ in weight decay at 0.08 in the published TOFU logs."""
LEAST_FACTS = 20
"""Facts below which no distance between models is judged."""
SAME_K = 1e-4
"""Difference of K up to which two models answer a fact alike."""
AS_ORIGINAL = 0.05
"""Difference of K up to which a model knows a fact as well as the original."""


@dataclass(frozen=True, eq=False)
class KnownSet:
    """Knowledge of one set without attack.

    Attributes:
        known: K as [2 + S, n]: unlearned, original, then every retrained model.
        entities: the entity of each fact.
    """

    known: FloatArray
    entities: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class KnownSets:
    """Knowledge without attack of every set that was measured.

    Attributes:
        forget: the forget set.
        retain: what every model was trained on; None where it was not measured.
        holdout: what no model has seen; None likewise.
    """

    forget: KnownSet
    retain: KnownSet | None = None
    holdout: KnownSet | None = None


@dataclass(frozen=True)
class BaselineFinding:
    """Finding against a retrained model.

    Attributes:
        message: what was found, and of which model.
        blocks: whether it could hide residual knowledge, so that a PASS is withheld.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    message: Message
    blocks: bool


def baseline_findings(
    sets: KnownSets, margins: Margins, scope: Scope
) -> tuple[BaselineFinding, ...]:
    """Returns what is wrong with the retrained models.

    Args:
        sets: what every model knows without attack.
        margins: the policy's margins; alpha is shared by the retrained models within each test.
        scope: what the units are.
    """
    known, entities = sets.forget.known, sets.forget.entities
    forget = Arms(known[0], known[1], known[2:], entities)
    seeds = range(forget.seeds)
    ahead = [f for seed in seeds for f in _ahead_of_others(forget, seed, margins, scope)]
    behind = [] if ahead else [f for s in seeds for f in _behind_others(forget, s, margins, scope)]
    named = {found.message.params["arm"] for found in ahead}
    each = [
        finding
        for seed in seeds
        for found in (
            _contaminated(sets, seed, forget.seeds, margins, scope, named),
            _undertrained(sets.retain, seed, forget.seeds, margins, scope),
            list(_copies(sets, seed, margins)) or _same_answers(sets, seed),
        )
        for finding in found
    ]
    return (*ahead, *behind, *each)


def _ahead_of_others(
    forget: Arms, seed: int, margins: Margins, scope: Scope
) -> Iterator[BaselineFinding]:
    """A model that knows forget facts that the others do not."""
    if forget.seeds < 2:
        return
    arms = forget.with_seed_as_unlearned(seed)
    contrast, share = arms.contrast(scope), margins.alpha / forget.seeds
    if mean_lower(contrast.g, share) < margins.minimum_gap:
        return
    count = count_leaks(arms, replace(margins, leaked_facts=0))
    above = log_e_value(-contrast.against(margins.delta)) >= log_threshold(share)
    if above or (scope == "census" and count.shown_above(COUNT_SHARE * share)):
        yield BaselineFinding(
            message(
                "retrained_knows_forget_facts",
                arm=Arm.retrained(seed),
                rho=float(contrast.d.mean() / contrast.g.mean()),
                leaked=count.leaked,
                eligible=count.eligible,
            ),
            blocks=True,
        )


def _behind_others(
    forget: Arms, seed: int, margins: Margins, scope: Scope
) -> Iterator[BaselineFinding]:
    """Yield a model that knows less than the others."""
    if forget.seeds < 3:
        return
    contrast = forget.with_seed_as_unlearned(seed).contrast(scope)
    share = margins.alpha / forget.seeds
    if mean_lower(contrast.g, share) < margins.minimum_gap:
        return
    if log_e_value(contrast.over_forgetting(margins.delta)) >= log_threshold(share):
        yield BaselineFinding(
            message(
                "retrained_knows_less_than_others",
                arm=Arm.retrained(seed),
                rho=float(contrast.d.mean() / contrast.g.mean()),
            ),
            blocks=False,
        )


def _above_unseen(
    sets: KnownSets, seed: int, seeds: int, margins: Margins, scope: Scope
) -> Iterator[BaselineFinding]:
    """Yield a model that knows more of forget than holdout facts."""
    if sets.holdout is None:
        return
    forget = _units(sets.forget, 2 + seed, scope)
    unseen = _units(sets.holdout, 2 + seed, scope)
    share = margins.alpha / (2 * seeds)
    lower = mean_lower(forget, share) + mean_lower(-unseen, share)
    if lower < margins.minimum_gap:
        return
    yield BaselineFinding(
        message(
            "retrained_knows_forget_above_holdout",
            arm=Arm.retrained(seed),
            forget=float(forget.mean()),
            holdout=float(unseen.mean()),
            lower=lower,
        ),
        blocks=True,
    )


def _contaminated(
    sets: KnownSets,
    seed: int,
    seeds: int,
    margins: Margins,
    scope: Scope,
    named: Collection[object],
) -> list[BaselineFinding]:
    """Return a finding against a model that has seen forget facts."""
    found = list(_above_unseen(sets, seed, seeds, margins, scope))
    if found or Arm.retrained(seed) in named:
        return found
    return list(_facts_known(sets, seed, seeds, margins, scope))


def _facts_known(
    sets: KnownSets, seed: int, seeds: int, margins: Margins, scope: Scope
) -> Iterator[BaselineFinding]:
    """Yield a model that knows single forget facts.

    Means hide a few facts that are known whole: a model that has seen just what leaks raises the
    baseline on these. Of facts that no model has seen it should know as many; without any, it is
    only said.
    """
    original, own = (_units(sets.forget, row, scope) for row in (1, 2 + seed))
    share = margins.alpha / (2 * seeds)
    if sets.holdout is None:
        yield from _facts_as_original(original, own, seed, share, margins)
        return
    unseen = _units(sets.holdout, 2 + seed, scope)
    guessed, learned = float(np.median(unseen)), float(np.median(original))
    if learned - guessed < margins.minimum_gap:
        return
    level = (guessed + learned) / 2
    known, beyond = (int((k >= level).sum()) for k in (own, unseen))
    more = known / own.size - beyond / unseen.size
    if more < margins.leak_limit or fisher_chance(known, own.size, beyond, unseen.size) > share:
        return
    yield BaselineFinding(
        message(
            "retrained_knows_facts_above_holdout",
            arm=Arm.retrained(seed),
            known=known,
            units=own.size,
            unseen=beyond,
            holdout=unseen.size,
        ),
        blocks=True,
    )


def fisher_chance(known: int, facts: int, beyond: int, others: int) -> float:
    """Return the p-value of Fisher's exact test, one-sided."""
    total = known + beyond
    of_facts = np.arange(known, min(facts, total) + 1, dtype=np.float64)

    def ways(n: int, k: FloatArray) -> FloatArray:
        found: FloatArray = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        return found

    logs = ways(facts, of_facts) + ways(others, np.maximum(total - of_facts, 0))
    logs = np.where(total - of_facts <= others, logs, -np.inf)
    return float(np.exp(logs - ways(facts + others, np.array(float(total)))).sum())


def _facts_as_original(
    original: FloatArray, own: FloatArray, seed: int, share: float, margins: Margins
) -> Iterator[BaselineFinding]:
    """Yield a model that knows many facts as the original does.

    It may guess them. Where single leaks are counted it blocks a PASS, for it would explain them.
    """
    if not _graded(own):
        return
    known = int(((original >= margins.minimum_gap) & (own >= original - AS_ORIGINAL)).sum())
    if 1.0 - clopper_pearson_upper(own.size - known, own.size, share) > margins.leak_limit:
        yield BaselineFinding(
            message(
                "retrained_knows_facts_as_original",
                arm=Arm.retrained(seed),
                known=known,
                units=own.size,
            ),
            blocks=margins.leaked_facts is not None,
        )


def _same_answers(sets: KnownSets, seed: int) -> Iterator[BaselineFinding]:
    """Yield a model that answers all as the unlearned one does."""
    known = _joined(sets.forget, sets.retain, sets.holdout)
    unlearned, original, own = known[0], known[1], known[2 + seed]
    largest = float(np.abs(unlearned - own).max())
    if largest > SAME_K or np.abs(unlearned - original).max() <= SAME_K or not _graded(own):
        return
    yield BaselineFinding(
        message(
            "retrained_answers_as_unlearned",
            arm=Arm.retrained(seed),
            facts=own.size,
            largest=largest,
        ),
        blocks=True,
    )


def _graded(k: FloatArray) -> bool:
    """Whether K takes too many values to agree by chance."""
    return np.unique(np.round(k / SAME_K)).size >= LEAST_FACTS


def _undertrained(
    retain: KnownSet | None, seed: int, seeds: int, margins: Margins, scope: Scope
) -> Iterator[BaselineFinding]:
    """Yield a model that knows less of the retain set."""
    if retain is None:
        return
    original, own = _units(retain, 1, scope), _units(retain, 2 + seed, scope)
    loss = (1.0 - margins.utility_margin) * original - own
    if log_e_value(-loss) < log_threshold(margins.alpha, seeds):
        return
    yield BaselineFinding(
        message(
            "retrained_undertrained",
            arm=Arm.retrained(seed),
            margin=margins.utility_margin,
            mean_retrained=float(own.mean()),
            mean_original=float(original.mean()),
        ),
        blocks=False,
    )


def _copies(sets: KnownSets, seed: int, margins: Margins) -> Iterator[BaselineFinding]:
    """Yield a model that answers as another arm does.

    Looked at where all models should be alike, on retain and holdout facts, if there are enough.
    What is usual is seen on models trained apart: the original, and retrained ones that know the
    retain set.
    """
    row = 2 + seed
    known = _joined(sets.retain, sets.holdout)
    among_forget = known.shape[1] < LEAST_FACTS
    if among_forget:
        known = _joined(sets.forget)
    if known.shape[1] < LEAST_FACTS:
        return
    trained = _trained(sets.retain, known.shape[0], margins)
    others = [other for other in trained if other != row]
    apart = min((_distance(known, row, other) for other in others), default=0.0)
    from_original = 0.0 if among_forget else _distance(known, row, 1)
    for arm, model, least in (
        (Arm.UNLEARNED, 0, max(COPY_RATIO * apart, EQUAL_RATIO * from_original)),
        (Arm.ORIGINAL, 1, COPY_RATIO * apart),
    ):
        distance = _distance(known, row, model)
        if distance < least:
            yield BaselineFinding(
                message(
                    "retrained_is_a_copy",
                    arm=Arm.retrained(seed),
                    of=arm,
                    distance=distance,
                    least=least,
                ),
                blocks=True,
            )


def _trained(retain: KnownSet | None, models: int, margins: Margins) -> list[int]:
    """Rows of the retrained models that know the retain set."""
    rows = range(2, models)
    if retain is None:
        return list(rows)
    means = retain.known.mean(axis=1)
    return [row for row in rows if means[row] >= (1.0 - margins.utility_margin) * means[1]]


def _units(held: KnownSet, row: int, scope: Scope) -> FloatArray:
    values = held.known[row]
    return values if scope == "census" else entity_means(values, held.entities)


def _joined(*sets: KnownSet | None) -> FloatArray:
    given = [held.known for held in sets if held is not None]
    return np.concatenate(given, axis=1) if given else np.zeros((2, 0))


def _distance(known: FloatArray, one: int, other: int) -> float:
    return float(np.abs(known[one] - known[other]).mean())
