"""Reasons of a verdict, as messages."""

from collections.abc import Sequence

from auditor.core.messages import Message, message
from auditor.statistics.arms import Scope
from auditor.statistics.assessment import AttackAssessment
from auditor.statistics.betting import log_threshold
from auditor.statistics.margins import Margins
from auditor.statistics.power import FactsNeeded
from auditor.statistics.readings import strongest
from auditor.statistics.seeds import SEEDS_FOR_SPREAD
from auditor.statistics.utility import UtilityAssessment


def baseline_claim(seeds: int) -> Message:
    """Return what the residual is relative to, with `seeds` retrained models."""
    if seeds >= SEEDS_FOR_SPREAD:
        return message("relative_to_retraining", retrained=seeds)
    return message("relative_to_supplied_baselines", retrained=seeds, needed=SEEDS_FOR_SPREAD)


def utility_reason(utility: UtilityAssessment | None, margins: Margins) -> Message | None:
    """Return why utility blocks a PASS.

    None means that the retain set is kept.
    """
    if utility is None:
        return message("retain_set_not_measured")
    if utility.state == "kept":
        return None
    return message(
        "utility_lost" if utility.state == "lost" else "utility_not_shown_kept",
        margin=margins.utility_margin,
        mean_unlearned=utility.mean_unlearned,
        mean_original=utility.mean_original,
    )


def verdict_reasons(
    verdict: str,
    attacks: Sequence[AttackAssessment],
    blocks: Sequence[Message],
    log_e_fail: float | None,
    margins: Margins,
    scope: Scope,
    needed: FactsNeeded | None,
) -> tuple[Message, ...]:
    """Return the reasons for the verdict.

    They are why it is what it is, what blocks a PASS, and what else to know.
    """
    reasons: list[Message] = []
    if verdict == "NOT AUDITABLE":
        reasons.append(_not_auditable(attacks, margins))
    elif verdict == "FAIL":
        reasons.extend(_fail(attacks, margins))
    elif verdict == "PASS":
        reasons.append(
            message(
                "passed",
                delta=margins.delta,
                leak_limit=margins.leak_limit,
                attacks=sum(attack.mandatory for attack in attacks),
                alpha=margins.alpha,
            )
        )
    else:
        reasons.append(message("undecided"))
        if log_e_fail is not None and log_e_fail >= log_threshold(margins.alpha):
            reasons.extend(_fail(attacks, margins))
    reasons.extend(blocks)
    if needed is not None:
        reasons.append(_need(needed, scope))
    reasons.extend(_remarks(attacks, margins))
    return tuple(reasons)


def _not_auditable(attacks: Sequence[AttackAssessment], margins: Margins) -> Message:
    as_is = next(attack for attack in attacks if attack.evidence.baseline)
    figures = as_is.figures
    if figures is None:  # pragma: no cover - the rule needs the figures
        raise ValueError("NOT AUDITABLE needs the model as it is to be measured")
    return message(
        "original_not_shown_to_know",
        metric=as_is.evidence.metric,
        gap_mean=figures.gap_mean,
        gap_lower=figures.gap_lower,
        units=figures.units,
        minimum_gap=margins.minimum_gap,
    )


def _fail(attacks: Sequence[AttackAssessment], margins: Margins) -> list[Message]:
    reasons = [
        message(
            "residual_above_margin",
            attack=attack.label,
            metric=shown.metric,
            delta=margins.delta,
            rho=shown.figures.rho,
        )
        for attack in attacks
        if attack.named and (shown := strongest(attack.readings)).figures is not None
    ]
    return reasons or [message("residual_above_margin_together", delta=margins.delta)]


def _need(needed: FactsNeeded, scope: Scope) -> Message:
    unit = "facts" if scope == "census" else "entities"
    if needed.needed is None:
        return message("more_facts_would_not_pass", unit=unit, available=needed.available)
    return message(
        "facts_needed",
        unit=unit,
        available=needed.available,
        needed=needed.needed,
        target=needed.target,
    )


def _remarks(attacks: Sequence[AttackAssessment], margins: Margins) -> list[Message]:
    reasons: list[Message] = []
    for attack in attacks:
        unmet = [gate for gate in attack.gates if gate.message is not None]
        if attack.figures is None:
            if not attack.mandatory:
                reasons.extend(message("advisory", about=gate.message) for gate in unmet)
            continue
        reasons.extend(
            message(
                "left_out_of_fail",
                attack=attack.label,
                metric=reading.metric,
                minimum_gap=margins.minimum_gap,
            )
            for reading in attack.readings
            if not reading.counts
        )
        if attack.counts and not attack.mandatory:
            reasons.extend(
                message("advisory", about=gate.message)
                for gate in unmet
                if gate.name == "sensitivity"
            )
        if attack.over_forgotten:
            reasons.append(message("over_forgotten", attack=attack.label))
    return reasons
