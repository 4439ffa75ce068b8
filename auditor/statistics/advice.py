"""Advice to an undecided audit: its lean, and facts that decide."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.core.messages import Message, message
from auditor.statistics.arms import Scope
from auditor.statistics.assessment import AttackAssessment
from auditor.statistics.betting import log_threshold
from auditor.statistics.blocks import Block
from auditor.statistics.leak_count import COUNT_SHARE, LeakCount, leaks_to_fail
from auditor.statistics.margins import Margins
from auditor.statistics.power import FactsNeeded, facts_needed_as_observed, facts_needed_to_fail
from auditor.statistics.readings import AssessedReading, strongest

ONLY_FACTS = frozenset({"residual", "leak_rate"})
"""Gates that more facts alone may meet."""


def lifted_by_facts(block: Block) -> bool:
    """Says whether more facts alone may lift a block.

    So it is with a gap whose mean suffices: its lower bound rises with the number of facts.
    """
    if block.gate in ONLY_FACTS:
        return True
    figures: dict[str, Any] = block.message.params
    small = block.message.code == "gap_too_small"
    return small and bool(figures["gap_mean"] >= figures["gap_required"])


@dataclass(frozen=True)
class Advice:
    """Advice on an INCONCLUSIVE verdict.

    Attributes:
        reasons: to which side it leans, and what would decide it.
        to_pass: the facts that a PASS needs; None where more facts are not the way to one.
        to_fail: the facts that a FAIL needs; None where nothing leans to it.
    """

    reasons: tuple[Message, ...] = ()
    to_pass: FactsNeeded | None = None
    to_fail: FactsNeeded | None = None


def advise(
    attacks: Sequence[AttackAssessment], obstacles: int, margins: Margins, scope: Scope
) -> Advice:
    """Returns to which side the evidence leans, and why.

    More facts are never named as the way to a PASS where an attack leans to FAIL by its own
    evidence, or where something else than facts is missing.

    Args:
        attacks: those that decide.
        obstacles: what blocks a PASS and is no matter of facts.
        margins: the policy's margins.
        scope: what the units are.
    """
    leaning = sorted((found for a in attacks for found in _leaning(a, margins)), key=_rank)
    if leaning:
        return _to_fail(leaning, margins, scope)
    if obstacles:
        return Advice((message("leans_to_neither", obstacles=obstacles),))
    return _to_pass(attacks, margins, scope)


@dataclass(frozen=True)
class _Leaning:
    """Attack that leans to FAIL, by its strongest reading.

    The basis is its own evidence at alpha, counted leaks, or an estimate above the margin.
    """

    attack: AttackAssessment
    reading: AssessedReading
    basis: str


def _rank(found: _Leaning) -> tuple[int, float, str]:
    order = ("evidence", "leaks", "estimate")
    log_e = found.attack.log_e_fail
    return order.index(found.basis), math.inf if log_e is None else -log_e, found.attack.label


def _leaning(attack: AttackAssessment, margins: Margins) -> Iterator[_Leaning]:
    counting = [r for r in attack.readings if r.counts and r.figures is not None]
    if not counting:
        return
    shown = strongest(attack.readings)
    lowers = [r.figures.rho_lower for r in counting if r.figures is not None]
    leaking = [r for r in counting if (c := _count(r)) is not None and c.leaked > c.allowed]
    estimates = [r for r in counting if r.figures is not None and (r.figures.rho or 0.0)]
    log_e = attack.log_e_fail
    alone = log_e is not None and log_e >= log_threshold(margins.alpha)
    if alone or any(lower is not None and lower > margins.delta for lower in lowers):
        yield _Leaning(attack, shown, "evidence")
    elif leaking:
        yield _Leaning(attack, max(leaking, key=_leaked), "leaks")
    elif estimates and max(map(_rho, estimates)) > margins.delta:
        yield _Leaning(attack, max(estimates, key=_rho), "estimate")


def _count(reading: AssessedReading) -> LeakCount | None:
    return None if reading.figures is None else reading.figures.leak_count


def _leaked(reading: AssessedReading) -> int:
    count = _count(reading)
    return 0 if count is None else count.leaked


def _rho(reading: AssessedReading) -> float:
    figures = reading.figures
    return -math.inf if figures is None or figures.rho is None else figures.rho


def _to_fail(leaning: Sequence[_Leaning], margins: Margins, scope: Scope) -> Advice:
    first = leaning[0]
    figures, arms = first.reading.figures, first.reading.reading.arms
    if figures is None or arms is None:  # pragma: no cover - nothing unmeasured leans
        raise ValueError(f"{first.attack.label} was not measured")
    count = figures.leak_count
    share = margins.alpha / (first.attack.parts * len(first.attack.readings))
    of_residual = share if count is None else (1.0 - COUNT_SHARE) * share
    need = facts_needed_to_fail(arms, margins, scope, of_residual)
    leaks = None if count is None else leaks_to_fail(arms, margins, COUNT_SHARE * share)
    said = message(
        "leans_to_fail",
        attack=first.attack.label,
        metric=first.reading.metric,
        basis=first.basis,
        rho=figures.rho,
        rho_lower=figures.rho_lower,
        rho_upper=figures.rho_upper,
        delta=margins.delta,
        alpha=margins.alpha,
        leaked=figures.leak.leaked,
        allowed=None if count is None else count.allowed,
        others=sorted({each.attack.label for each in leaning[1:]}),
    )
    needed = message(
        "facts_needed_to_fail",
        attack=first.attack.label,
        unit=_unit(scope),
        available=need.available,
        needed=need.needed,
        target=need.target,
        leaks=leaks if first.basis == "leaks" else None,
    )
    return Advice((said, needed), to_fail=need)


def _to_pass(attacks: Sequence[AttackAssessment], margins: Margins, scope: Scope) -> Advice:
    short = list(_short(attacks, margins, scope))
    if not short:
        return Advice((message("leans_to_neither", obstacles=0),))
    attack, reading, need = max(short, key=lambda each: _size(each[2]))
    figures = reading.figures
    said = message(
        "leans_to_pass",
        attack=attack.label,
        metric=reading.metric,
        rho=None if figures is None else figures.rho,
        rho_upper=None if figures is None else figures.rho_upper,
        delta=margins.delta,
    )
    return Advice((said, needed_message(need, scope)), to_pass=need)


def _short(
    attacks: Sequence[AttackAssessment], margins: Margins, scope: Scope
) -> Iterator[tuple[AttackAssessment, AssessedReading, FactsNeeded]]:
    """Yield readings that are short of facts for a PASS."""
    for attack in sorted((a for a in attacks if a.mandatory), key=lambda a: a.label):
        for reading in attack.readings:
            unmet = {gate.name for gate in reading.gates if not gate.met}
            arms = reading.reading.arms
            if arms is not None and unmet & ONLY_FACTS:
                count = _count(reading)
                noise = None if count is None else count.noise
                need = facts_needed_as_observed(arms, margins, scope, noise=noise)
                yield attack, reading, need


def most_needed(
    attacks: Sequence[AttackAssessment], margins: Margins, scope: Scope
) -> FactsNeeded | None:
    """Returns what the attack shortest of facts needs for a PASS."""
    return max((need for *_, need in _short(attacks, margins, scope)), key=_size, default=None)


def needed_message(needed: FactsNeeded, scope: Scope) -> Message:
    """Returns what a PASS needs, as a message."""
    if needed.needed is None:
        return message("more_facts_would_not_pass", unit=_unit(scope), available=needed.available)
    return message(
        "facts_needed",
        unit=_unit(scope),
        available=needed.available,
        needed=needed.needed,
        target=needed.target,
    )


def _size(need: FactsNeeded) -> float:
    return math.inf if need.needed is None else need.needed


def _unit(scope: Scope) -> str:
    return "facts" if scope == "census" else "entities"
