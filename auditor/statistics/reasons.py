"""Reasons of a verdict, as messages."""

from collections import Counter
from collections.abc import Iterator, Sequence

from auditor.core.baselines import Baseline
from auditor.core.messages import Message, message
from auditor.statistics.advice import Advice
from auditor.statistics.assessment import AttackAssessment
from auditor.statistics.betting import log_threshold
from auditor.statistics.blocks import Block, attack_blocks, said_once
from auditor.statistics.leak_count import COUNT_SHARE
from auditor.statistics.margins import Margins
from auditor.statistics.readings import strongest
from auditor.statistics.seeds import SEEDS_FOR_SPREAD
from auditor.statistics.utility import UtilityAssessment


def baseline_claim(baseline: Baseline, models: int) -> Message:
    """Return what the residual is relative to.

    Args:
        baseline: baseline of the audit.
        models: number of retrained or reference models.
    """
    if baseline is Baseline.NEVER_SEEN_FACTS:
        return message("relative_to_never_seen_facts")
    if baseline is Baseline.OWN_NULL:
        return message("relative_to_own_null")
    if baseline is Baseline.REFERENCE:
        return message("relative_to_references", models=models)
    if models >= SEEDS_FOR_SPREAD:
        return message("relative_to_retraining", retrained=models)
    return message("relative_to_supplied_baselines", retrained=models, needed=SEEDS_FOR_SPREAD)


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
    blocks: Sequence[Block],
    advice: Advice,
    log_e_fail: float | None,
    margins: Margins,
    facts: Sequence[str],
) -> tuple[Message, ...]:
    """Return the reasons for the verdict.

    They are why it is what it is, what blocks a PASS, and what else to know.
    """
    reasons: list[Message] = []
    shown = log_e_fail is not None and log_e_fail >= log_threshold(margins.alpha)
    if verdict == "NOT AUDITABLE":
        reasons.append(_not_auditable(attacks, margins))
    elif verdict == "FAIL":
        reasons.extend(_fail(attacks, margins))
        blocks = [block for block in blocks if not _said_by_fail(block, attacks)]
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
        reasons.extend(advice.reasons)
        reasons.extend(_fail(attacks, margins) if shown else ())
    reasons.extend(_leaked_facts(attacks, facts))
    reasons.extend(said_once(blocks))
    reasons.extend(_remarks(attacks, margins))
    return tuple(reasons)


def _said_by_fail(block: Block, attacks: Sequence[AttackAssessment]) -> bool:
    """Return whether a FAIL says more of a block."""
    named = {attack.label for attack in attacks if attack.named}
    return block.attack in named and block.gate in ("residual", "leak_rate")


def _leaked_facts(attacks: Sequence[AttackAssessment], facts: Sequence[str]) -> Iterator[Message]:
    """Yield the facts that leak whole, those of most readings first.

    Beside them stands what noise makes of honest models: the most leaks of any retrained model.
    """
    seen: Counter[int] = Counter()
    by: list[str] = []
    baselines: list[int] = []
    for attack in attacks:
        for reading in attack.readings:
            count = reading.figures.leak_count if reading.figures and reading.counts else None
            if count is not None and count.facts:
                seen.update(count.facts)
                by.append(attack.label)
                baselines += [] if count.noise is None else [count.noise]
    if seen:
        places = sorted(seen, key=lambda place: (-seen[place], place))
        yield message(
            "facts_leak",
            quoted=("ids",),
            leaked=len(places),
            facts=len(facts),
            ids=[facts[place] for place in places],
            attacks=sorted(set(by)),
            baseline=max(baselines, default=None),
        )


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
    named = [attack for attack in attacks if attack.named]
    named.sort(key=lambda attack: (-(attack.log_e_fail or 0.0), attack.label))
    reasons = [said for attack in named for said in _named(attack, margins)]
    return reasons or [message("residual_above_margin_together", delta=margins.delta)]


def _named(attack: AttackAssessment, margins: Margins) -> Iterator[Message]:
    """Yield what an attack shows by itself."""
    share = COUNT_SHARE * margins.alpha / (attack.parts * len(attack.readings))
    counted = [
        (reading, count)
        for reading in attack.readings
        if reading.counts and reading.figures is not None
        if (count := reading.figures.leak_count) is not None and count.shown_above(share)
    ]
    shown = strongest(attack.readings)
    if shown.figures is None:  # pragma: no cover - what was not measured is not named
        return
    lower = shown.figures.rho_lower_shared
    if not counted or (lower is not None and lower > margins.delta):
        yield message(
            "residual_above_margin",
            attack=attack.label,
            metric=shown.metric,
            delta=margins.delta,
            rho=shown.figures.rho,
        )
    for reading, count in counted:
        yield message(
            "leaks_shown_above_limit",
            attack=attack.label,
            metric=reading.metric,
            leaked=count.leaked,
            eligible=count.eligible,
            allowed=count.expected,
        )


def _remarks(attacks: Sequence[AttackAssessment], margins: Margins) -> list[Message]:
    advisory: list[Block] = []
    others: list[Block] = []
    for attack in attacks:
        unmet = [] if attack.mandatory else list(attack_blocks(attack))
        if attack.figures is None:
            advisory += unmet
            continue
        for reading in attack.readings:
            if reading.only_reported is not None:
                others += [] if attack.mandatory else [Block(reading.only_reported)]
            elif not reading.counts:
                left_out = message(
                    "left_out_of_fail",
                    attack=attack.label,
                    metric=reading.metric,
                    minimum_gap=margins.minimum_gap,
                )
                others.append(Block(left_out, attack=attack.label))
        if attack.counts:
            advisory += [block for block in unmet if block.gate == "sensitivity"]
        if attack.over_forgotten:
            said = message("over_forgotten", attack=attack.label)
            others.append(Block(said, attack=attack.label))
    first = [message("advisory", about=about) for about in said_once(advisory)]
    return [*first, *said_once(others)]
