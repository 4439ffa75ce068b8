"""Verdict on all attacks' evidence, by five rules in order.

1. NOT AUDITABLE: without attack, the original does not know what it is said to have forgotten, by
   the primary metric.
2. Each mandatory attack must have run and must tell the original from the retrained model.
3. FAIL: the weighted mean e-value over the attacks for "residual above delta, or more leaks than
   are allowed" reaches 1/alpha. Families of attacks weigh alike, variants within one likewise.
4. PASS: every mandatory attack shows, by every deciding metric, its residual below delta and its
   leaks within the limit, and the retain set is kept. Intersection-union: no correction for the
   number of attacks or of metrics.
5. INCONCLUSIVE otherwise.

Where the model as it is was not measured, rule 1 cannot be judged and the verdict is
INCONCLUSIVE, whatever the other attacks show; the reasons then say what they show.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.messages import Message, message
from auditor.core.roles import Role
from auditor.statistics.advice import Advice, advise, lifted_by_facts, most_needed
from auditor.statistics.arms import Scope, check_scope
from auditor.statistics.assessment import AttackAssessment, AttackEvidence, assess
from auditor.statistics.attack_weights import parts, weighted_log_e_value
from auditor.statistics.baselines import BaselineFinding, KnownSets, baseline_findings
from auditor.statistics.betting import log_threshold
from auditor.statistics.blocks import Block, attack_blocks, said_once
from auditor.statistics.leak_count import baseline_leaks
from auditor.statistics.margins import Margins
from auditor.statistics.power import FactsNeeded
from auditor.statistics.reasons import baseline_claim, utility_reason, verdict_reasons
from auditor.statistics.rules import TODAY, Rules
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
        log_e_fail: log of the weighted mean e-value for FAIL; None where no attack counts.
        fail_threshold: what log_e_fail must reach, log(1/alpha).
        seeds: least number of retrained models of any measured attack; None without any.
        baseline_claim: what the residual is relative to; None without a measured attack.
        facts_needed: under INCONCLUSIVE, the facts that the most demanding attack needs for a
            PASS; None where facts are not what is missing.
        facts_to_fail: under INCONCLUSIVE, those that the attack needs for a FAIL that leans most
            to it; None where none does.
        baselines: what is wrong with the retrained models.
        baseline: what stands for a model that forgot.
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
    facts_to_fail: FactsNeeded | None
    baselines: tuple[BaselineFinding, ...]
    baseline: Baseline
    margins: Margins
    scope: Scope


def decide(
    attacks: Sequence[AttackEvidence],
    utility: Utility | None,
    margins: Margins | None = None,
    scope: Scope = "census",
    unmet: Sequence[Message] = (),
    *,
    known: KnownSets | None = None,
    facts: Sequence[str] = (),
    rules: Rules = TODAY,
    baseline: Baseline = Baseline.RETRAINED,
    unsound: Sequence[Message] = (),
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
        known: what the models know without attack, for the tests of the retrained ones.
        facts: names of the facts, for leaks to be named; their places by default.
        rules: of the release whose verdict it is.
        baseline: what stands for a model that forgot.
        unsound: what keeps that from standing for one, so that neither PASS nor FAIL is said.

    Raises:
        ValueError: not exactly one baseline entry, an attack listed twice, an unknown scope,
            or sampled scope without entities.
    """
    margins = Margins() if margins is None else margins
    margins = replace(margins, leaks_counted=rules.leaks_counted)
    check_scope(scope)
    assessed = assess_all(attacks, margins, scope, rules)
    kept = None if utility is None else assess_utility(utility, margins, scope)
    deciding = tuple(a for a in assessed if a.evidence.role is not Role.REPORTED)
    log_e_fail = weighted_log_e_fail(deciding)
    baselines: tuple[BaselineFinding, ...] = ()
    if rules.baselines_tested and known is not None and baseline is Baseline.RETRAINED:
        baselines = baseline_findings(known, margins, scope)
    blocks = [*map(Block, unsound), *_blocks(deciding, kept, baselines, margins)]
    blocks += map(Block, unmet)
    shown = None if unsound else log_e_fail
    verdict = _verdict(deciding, shown, margins, blocked=bool(blocks))
    advice = Advice()
    if verdict is Verdict.INCONCLUSIVE:
        advice = _advice(deciding, blocks, margins, scope, rules)
    seeds = min((entry.arms.seeds for entry in attacks if entry.arms is not None), default=None)
    names = facts or _places(deciding)
    reasons = verdict_reasons(verdict, deciding, blocks, advice, shown, margins, names)
    return Decision(
        verdict=verdict,
        flags=_flags(deciding, kept),
        reasons=(*reasons, *(finding.message for finding in baselines if not finding.blocks)),
        attacks=assessed,
        utility=kept,
        residual=_residual(deciding),
        log_e_fail=log_e_fail,
        fail_threshold=log_threshold(margins.alpha),
        seeds=seeds,
        baseline_claim=None if seeds is None else baseline_claim(baseline, seeds),
        facts_needed=advice.to_pass,
        facts_to_fail=advice.to_fail,
        baselines=baselines,
        baseline=baseline,
        margins=margins,
        scope=scope,
    )


def assess_all(
    attacks: Sequence[AttackEvidence],
    margins: Margins,
    scope: Scope,
    rules: Rules = TODAY,
    shares: Mapping[AttackId, int] | None = None,
) -> tuple[AttackAssessment, ...]:
    """Returns the assessments of a plan's attacks, each at its share.

    Args:
        attacks: as for `decide`.
        margins: the policy's margins.
        scope: what the units are.
        rules: of the release whose assessments they are.
        shares: attack to the parts of alpha of which it has one; by default those that follow
            from the attacks given.
    """
    gaps = {
        reading.metric: float(reading.arms.contrast(scope).g.mean())
        for reading in _as_is(attacks).readings
        if reading.arms is not None
    }
    deciding = [entry for entry in attacks if entry.role is not Role.REPORTED]
    measured = [entry.id for entry in deciding if entry.arms is not None]
    if shares is None:
        shares = parts([entry.id for entry in deciding], measured, rules.weighting)
    noise = _noise(attacks, margins)
    return tuple(
        assess(
            entry, margins, scope, no_attack_gaps=gaps, parts=shares.get(entry.id, 1), noise=noise
        )
        for entry in attacks
    )


def _noise(attacks: Sequence[AttackEvidence], margins: Margins) -> dict[str, int]:
    """Metric to the most leaks of any retrained model.

    Every mandatory attack is looked at.
    """
    most: dict[str, int] = {}
    for entry in attacks:
        for reading in entry.readings if entry.role is Role.MANDATORY else ():
            arms = reading.arms
            leaked = None if arms is None or arms.blocks else baseline_leaks(arms, margins)
            if leaked is not None:
                most[reading.metric] = max(leaked, most.get(reading.metric, 0))
    return most


def bare_verdict(
    attacks: Sequence[AttackEvidence], margins: Margins, scope: Scope, rules: Rules = TODAY
) -> Verdict:
    """Returns the verdict alone, for simulations; the retain set counts as kept."""
    margins = replace(margins, leaks_counted=rules.leaks_counted)
    assessed = assess_all(attacks, margins, scope, rules)
    deciding = [a for a in assessed if a.evidence.role is not Role.REPORTED]
    blocked = any(not attack.passed for attack in deciding if attack.mandatory)
    return _verdict(deciding, weighted_log_e_fail(deciding), margins, blocked=blocked)


def weighted_log_e_fail(attacks: Sequence[AttackAssessment]) -> float | None:
    """Returns the log of FAIL's e-value over the attacks that decide.

    An attack that was not measured, or whose gap is too small, enters as 0.
    """
    counting = {a.evidence.id: a.log_e_fail for a in attacks if a.log_e_fail is not None}
    return weighted_log_e_value(counting, {a.evidence.id: a.parts for a in attacks})


def _places(attacks: Sequence[AttackAssessment]) -> list[str]:
    """The places of the facts, where nobody named them."""
    measured = (a.figures.facts for a in attacks if a.figures is not None)
    return list(map(str, range(max(measured, default=0))))


def _advice(
    attacks: Sequence[AttackAssessment],
    blocks: Sequence[Block],
    margins: Margins,
    scope: Scope,
    rules: Rules,
) -> Advice:
    if not rules.facts_for_fail:
        return Advice(to_pass=most_needed(attacks, margins, scope))
    obstacles = len(said_once([block for block in blocks if not lifted_by_facts(block)]))
    return advise(attacks, obstacles, margins, scope)


def _as_is(attacks: Sequence[AttackEvidence]) -> AttackEvidence:
    baselines = [entry for entry in attacks if entry.baseline]
    if len(baselines) != 1:
        raise ValueError(f"exactly one entry must be the model as it is, not {len(baselines)}")
    labels = [entry.id.label for entry in attacks]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"listed twice: {twice}")
    return baselines[0]


def _blocks(
    attacks: Sequence[AttackAssessment],
    utility: UtilityAssessment | None,
    baselines: Sequence[BaselineFinding],
    margins: Margins,
) -> Iterator[Block]:
    """Everything that blocks a PASS."""
    mandatory = [a for a in attacks if a.mandatory]
    if not any(a.evidence.baseline and a.figures is not None for a in attacks):
        yield Block(message("model_as_it_is_not_measured"), "as_is")
    for attack in mandatory:
        yield from attack_blocks(attack)
    for finding in baselines:
        if finding.blocks:
            yield Block(finding.message, "baseline_noise")
    if not mandatory:
        yield Block(message("no_mandatory_attack"))
    lacking = utility_reason(utility, margins)
    if lacking is not None:
        yield Block(lacking)


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
