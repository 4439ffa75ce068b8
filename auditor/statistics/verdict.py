"""Verdict on all attacks' evidence, by five rules in order.

1. NOT AUDITABLE: without attack, the original does not know what it is said to have forgotten, by
   the primary metric.
2. Each mandatory attack must have run and must tell the original from the retrained model.
3. FAIL: the mean e-value over the measured attacks for "residual above delta" reaches 1/alpha.
4. PASS: every mandatory attack shows, by every deciding metric, its residual below delta and its
   leak rate in bounds, and the retain set is kept. Intersection-union: no correction for the number
   of attacks or of metrics.
5. INCONCLUSIVE otherwise.

Where the model as it is was not measured, rule 1 cannot be judged and the verdict is
INCONCLUSIVE, whatever the other attacks show; the reasons then say what they show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from auditor.core.messages import Message, message
from auditor.core.roles import Role
from auditor.statistics.arms import Scope, check_scope
from auditor.statistics.assessment import AttackAssessment, AttackEvidence, assess
from auditor.statistics.betting import log_threshold, mean_log_e_value
from auditor.statistics.margins import Margins
from auditor.statistics.power import FactsNeeded, facts_needed_as_observed
from auditor.statistics.reasons import baseline_claim, utility_reason, verdict_reasons
from auditor.statistics.utility import Utility, UtilityAssessment, assess_utility


class Verdict(StrEnum):
    """Verdict of an audit."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_AUDITABLE = "NOT AUDITABLE"


class Flag(StrEnum):
    """Additional flags of a verdict."""

    OVER_FORGOTTEN = "OVER-FORGOTTEN"
    UTILITY_LOST = "UTILITY LOST"
    WAIVED = "WAIVED"
    """A demand of the policy was lifted by a waiver."""


@dataclass(frozen=True)
class ResidualInterval:
    """Interval for the largest residual rho over attacks.

    Attributes:
        lower: largest lower bound over all measured attacks and deciding metrics, which share
            alpha; None where no attack showed any residual.
        upper: largest upper bound over the mandatory measured attacks and deciding metrics, each
            at alpha; None where one of them is not bounded below 1, or where there is none.
        complete: whether every mandatory attack was measured; if not, `upper` leaves some out.
    """

    lower: float | None
    upper: float | None
    complete: bool


@dataclass(frozen=True)
class Decision:
    """The verdict, and everything that led to it.

    Attributes:
        verdict: one of `Verdict`.
        flags: additional flags.
        reasons: why, and which gate blocks a PASS.
        attacks: one assessment an attack of the plan, in the order given.
        utility: the retain set; None where it was not measured.
        residual: interval for the largest residual.
        log_e_fail: log of the mean e-value for FAIL; None where no attack counts towards it.
        fail_threshold: what log_e_fail must reach, log(1/alpha).
        seeds: least number of retrained models of any measured attack; None without any.
        baseline_claim: what the residual is relative to; None without a measured attack.
        facts_needed: under INCONCLUSIVE, the facts that the most demanding attack needs that
            is short of facts; None where facts are not what is missing.
        margins: margins as given.
        scope: scope as given.
    """

    verdict: Verdict
    flags: tuple[Flag, ...]
    reasons: tuple[Message, ...]
    attacks: tuple[AttackAssessment, ...]
    utility: UtilityAssessment | None
    residual: ResidualInterval
    log_e_fail: float | None
    fail_threshold: float
    seeds: int | None
    baseline_claim: Message | None
    facts_needed: FactsNeeded | None
    margins: Margins
    scope: Scope


def decide(
    attacks: Sequence[AttackEvidence],
    utility: Utility | None,
    margins: Margins | None = None,
    scope: Scope = "census",
    unmet: Sequence[Message] = (),
) -> Decision:
    """Returns the verdict on the unlearned model.

    Args:
        attacks: every attack of the plan, measured or not; exactly one is the model as it is
            (`baseline=True`), and those that are only reported decide nothing. The list is
            fixed before the audit.
        utility: the retain set; a missing one blocks PASS.
        margins: the policy's margins; `Margins()` by default.
        scope: census (units are facts) or sampled (units are entities).
        unmet: what else a PASS lacks, whatever the evidence.

    Raises:
        ValueError: not exactly one baseline entry, an attack listed twice, an unknown scope,
            or sampled scope without entities.
    """
    margins = Margins() if margins is None else margins
    check_scope(scope)
    as_is = _as_is(attacks)
    gaps = {
        reading.metric: float(reading.arms.contrast(scope).g.mean())
        for reading in as_is.readings
        if reading.arms is not None
    }
    measured = sum(entry.arms is not None and entry.role is not Role.REPORTED for entry in attacks)
    assessed = tuple(
        assess(entry, margins, scope, no_attack_gaps=gaps, measured_attacks=measured)
        for entry in attacks
    )
    kept = None if utility is None else assess_utility(utility, margins, scope)
    deciding = tuple(a for a in assessed if a.evidence.role is not Role.REPORTED)
    log_e_fail = _mean_log_e_fail(deciding)
    blocks = (*_blocks(deciding, kept, margins), *unmet)
    verdict = _verdict(deciding, log_e_fail, margins, blocked=bool(blocks))
    needed = None
    if verdict is Verdict.INCONCLUSIVE:
        needed = _facts_needed(assessed, margins, scope)
    seeds = min((entry.arms.seeds for entry in attacks if entry.arms is not None), default=None)
    return Decision(
        verdict=verdict,
        flags=_flags(deciding, kept),
        reasons=verdict_reasons(verdict, deciding, blocks, log_e_fail, margins, scope, needed),
        attacks=assessed,
        utility=kept,
        residual=_residual(deciding),
        log_e_fail=log_e_fail,
        fail_threshold=log_threshold(margins.alpha),
        seeds=seeds,
        baseline_claim=None if seeds is None else baseline_claim(seeds),
        facts_needed=needed,
        margins=margins,
        scope=scope,
    )


def _as_is(attacks: Sequence[AttackEvidence]) -> AttackEvidence:
    baselines = [entry for entry in attacks if entry.baseline]
    if len(baselines) != 1:
        raise ValueError(f"exactly one entry must be the model as it is, not {len(baselines)}")
    labels = [entry.id.label for entry in attacks]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"listed twice: {twice}")
    return baselines[0]


def _mean_log_e_fail(attacks: Sequence[AttackAssessment]) -> float | None:
    """Return the log of the mean e-value over measured attacks.

    One whose gap is too small enters as 0.
    """
    counting = [a.log_e_fail for a in attacks if a.log_e_fail is not None]
    return mean_log_e_value(counting, sum(a.figures is not None for a in attacks))


def _blocks(
    attacks: Sequence[AttackAssessment], utility: UtilityAssessment | None, margins: Margins
) -> tuple[Message, ...]:
    """Everything that blocks a PASS."""
    mandatory = [a for a in attacks if a.mandatory]
    blocks = [gate.message for a in mandatory for gate in a.gates if gate.message is not None]
    if not mandatory:
        blocks.append(message("no_mandatory_attack"))
    if not any(a.evidence.baseline and a.figures is not None for a in attacks):
        blocks.insert(0, message("model_as_it_is_not_measured"))
    lacking = utility_reason(utility, margins)
    return tuple(blocks if lacking is None else [*blocks, lacking])


def _verdict(
    attacks: Sequence[AttackAssessment],
    log_e_fail: float | None,
    margins: Margins,
    *,
    blocked: bool,
) -> Verdict:
    as_is = next(a for a in attacks if a.evidence.baseline)
    if as_is.figures is None:
        return Verdict.INCONCLUSIVE
    if as_is.figures.gap_lower < margins.minimum_gap:
        return Verdict.NOT_AUDITABLE
    if log_e_fail is not None and log_e_fail >= log_threshold(margins.alpha):
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if blocked else Verdict.PASS


def _flags(
    attacks: Sequence[AttackAssessment], utility: UtilityAssessment | None
) -> tuple[Flag, ...]:
    flags: list[Flag] = []
    if any(a.over_forgotten for a in attacks):
        flags.append(Flag.OVER_FORGOTTEN)
    if utility is not None and utility.state == "lost":
        flags.append(Flag.UTILITY_LOST)
    if any(a.evidence.role is Role.WAIVED for a in attacks):
        flags.append(Flag.WAIVED)
    return tuple(flags)


def _residual(attacks: Sequence[AttackAssessment]) -> ResidualInterval:
    figures = [
        (a.mandatory, reading.figures)
        for a in attacks
        for reading in a.readings
        if reading.figures is not None
    ]
    lowers = [f.rho_lower_shared for _, f in figures if f.rho_lower_shared is not None]
    uppers = [f.rho_upper for mandatory, f in figures if mandatory]
    bounded = [upper for upper in uppers if upper is not None]
    return ResidualInterval(
        lower=max(lowers, default=None),
        upper=max(bounded) if bounded and len(bounded) == len(uppers) else None,
        complete=all(a.figures is not None for a in attacks if a.mandatory),
    )


def _facts_needed(
    assessed: Sequence[AttackAssessment],
    margins: Margins,
    scope: Scope,
) -> FactsNeeded | None:
    """Return the largest need of facts among mandatory attacks.

    Only attacks that the number of facts alone may hold back count.
    """
    short: list[FactsNeeded] = []
    for reading in (r for attack in assessed if attack.mandatory for r in attack.readings):
        unmet = {gate.name for gate in reading.gates if not gate.met}
        arms = reading.reading.arms
        if arms is not None and unmet & {"residual", "leak_rate"}:
            short.append(facts_needed_as_observed(arms, margins, scope))
    if not short:
        return None
    return max(short, key=lambda need: math.inf if need.needed is None else need.needed)
