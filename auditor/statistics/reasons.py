"""The reasons of a verdict, in plain sentences."""

import math
from collections.abc import Sequence

from auditor.statistics.arms import Scope
from auditor.statistics.assessment import AttackAssessment
from auditor.statistics.margins import Margins
from auditor.statistics.power import FactsNeeded
from auditor.statistics.seeds import SEEDS_FOR_SPREAD
from auditor.statistics.utility import UtilityAssessment


def baseline_claim(seeds: int) -> str:
    """Returns what the residual is relative to, with `seeds` retrained models."""
    if seeds >= SEEDS_FOR_SPREAD:
        return (
            f"relative to retraining without the data: the spread between {seeds} retrained "
            "models is taken off the margin"
        )
    which = "baseline" if seeds == 1 else f"{seeds} baselines"
    return (
        f"relative to the supplied {which} only: with fewer than {SEEDS_FOR_SPREAD} retrained "
        "models the spread between training runs is not accounted for"
    )


def utility_sentence(utility: UtilityAssessment | None, margins: Margins) -> str | None:
    """Returns why utility blocks a PASS; None where the retain set is kept."""
    if utility is None:
        return "The retain set was not measured, so a broken model cannot be ruled out."
    if utility.state == "kept":
        return None
    means = (
        f"mean knowledge of the retain set is {utility.mean_unlearned:.3f}, "
        f"{utility.mean_original:.3f} before unlearning"
    )
    if utility.state == "lost":
        return f"Utility is lost by more than {margins.utility_margin:.0%}: {means}."
    return f"Utility was not shown to be kept within {margins.utility_margin:.0%}: {means}."


def verdict_reasons(
    verdict: str,
    attacks: Sequence[AttackAssessment],
    blocks: Sequence[str],
    log_e_fail: float | None,
    margins: Margins,
    scope: Scope,
    needed: FactsNeeded | None,
) -> tuple[str, ...]:
    """Returns why the verdict is what it is, what blocks a PASS, and what else to know."""
    sentences: list[str] = []
    if verdict == "NOT AUDITABLE":
        sentences.append(_not_auditable(attacks, margins))
    elif verdict == "FAIL":
        sentences.extend(_fail(attacks, margins))
    elif verdict == "PASS":
        passed = sum(a.mandatory for a in attacks)
        sentences.append(
            f"Residual knowledge is below {margins.delta:g} and at most "
            f"{margins.leak_limit:.0%} of the facts leak under each of {passed} mandatory "
            f"attack(s), at confidence {1 - margins.alpha:.0%}; the retain set is kept."
        )
    else:
        sentences.append("Neither a PASS nor a FAIL is supported by the evidence.")
        if log_e_fail is not None and log_e_fail >= math.log(1.0 / margins.alpha):
            sentences.extend(_fail(attacks, margins))
    sentences.extend(blocks)
    if needed is not None:
        sentences.append(_need(needed, scope))
    sentences.extend(_remarks(attacks, margins))
    return tuple(sentences)


def _not_auditable(attacks: Sequence[AttackAssessment], margins: Margins) -> str:
    figures = next(a.figures for a in attacks if a.baseline)
    if figures is None:  # pragma: no cover - the rule needs the figures
        raise ValueError("NOT AUDITABLE needs the model as it is to be measured")
    return (
        "The original model was not shown to know what it is said to have forgotten: without "
        f"attack its gap to the retrained model is {figures.gap_mean:.3f} over {figures.units} "
        f"unit(s), at least {figures.gap_lower:.3f}; {margins.minimum_gap:g} is needed."
    )


def _fail(attacks: Sequence[AttackAssessment], margins: Margins) -> list[str]:
    sentences: list[str] = []
    for attack in attacks:
        if attack.named and attack.figures is not None:
            rho = attack.figures.rho
            size = "" if rho is None else f", about {rho:.2f} of what the original knew"
            sentences.append(f"{attack.name}: residual knowledge is above {margins.delta:g}{size}.")
    return sentences or [
        f"Residual knowledge is above {margins.delta:g} over the attacks taken together; "
        "no single one shows it alone."
    ]


def _need(needed: FactsNeeded, scope: Scope) -> str:
    unit = "facts" if scope == "census" else "entities"
    if needed.needed is None:
        return (
            f"More {unit} like the {needed.available} measured would not be expected to lead "
            "to a PASS."
        )
    return (
        f"About {needed.needed} {unit} like the {needed.available} measured would be needed "
        f"for an {needed.target:.0%} chance that the attack with the greatest need passes."
    )


def _remarks(attacks: Sequence[AttackAssessment], margins: Margins) -> list[str]:
    sentences: list[str] = []
    for attack in attacks:
        if attack.figures is None:
            if not attack.mandatory:
                sentences.extend(
                    f"Advisory: {gate.sentence}" for gate in attack.gates if gate.sentence
                )
            continue
        if not attack.counts:
            sentences.append(
                f"{attack.name} is left out of FAIL: it does not tell the original from the "
                f"retrained model by {margins.minimum_gap:g}, so it proves nothing either way."
            )
        elif not attack.mandatory:
            sentences.extend(
                f"Advisory: {gate.sentence}"
                for gate in attack.gates
                if gate.name == "sensitivity" and gate.sentence
            )
        if attack.over_forgotten:
            sentences.append(
                f"{attack.name}: the model knows measurably less than the retrained model, "
                "which itself shows what was removed."
            )
    return sentences
