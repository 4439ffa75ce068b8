"""The gates of a PASS: each one blocks it alone, and none may be dropped."""

from dataclasses import dataclass
from typing import Literal

from auditor.statistics.betting import log_threshold
from auditor.statistics.figures import AttackFigures
from auditor.statistics.margins import Margins

GateName = Literal[
    "measured",
    "sensitivity",
    "residual",
    "leak_rate",
    "baseline_noise",
    "positive_control",
    "budget",
]


@dataclass(frozen=True)
class Gate:
    """One condition of a PASS. `sentence` says what blocks it; None where it is met."""

    name: GateName
    met: bool
    sentence: str | None


def measured_gates(name: str, figures: AttackFigures, margins: Margins) -> tuple[Gate, ...]:
    """Returns the gates of an attack that ran."""
    return (
        Gate("measured", True, None),
        _sensitivity(name, figures, margins),
        _residual(name, figures, margins),
        _leak(name, figures, margins),
        _baseline_noise(name, figures),
    )


def _sensitivity(name: str, figures: AttackFigures, margins: Margins) -> Gate:
    if figures.gap_required is None:
        sentence = f"{name}: its gap cannot be judged, for the gap without attack is not known."
        return Gate("sensitivity", False, sentence)
    if figures.gap_lower >= figures.gap_required:
        return Gate("sensitivity", True, None)
    sentence = (
        f"{name}: the gap between original and retrained model is {figures.gap_mean:.3f}, "
        f"at least {figures.gap_lower:.3f} with confidence {1 - margins.alpha:.0%}; "
        f"{figures.gap_required:.3f} is needed for the attack to tell the two apart."
    )
    return Gate("sensitivity", False, sentence)


def _residual(name: str, figures: AttackFigures, margins: Margins) -> Gate:
    spread = figures.spread
    if spread.delta is None or figures.log_e_pass is None:
        by = "cannot be computed" if spread.shrinkage is None else f"is {spread.shrinkage:.3f}"
        sentence = (
            f"{name}: the allowance for the spread between {spread.seeds} retrained models {by}, "
            f"so nothing is left of the margin of {margins.delta:g}."
        )
        return Gate("residual", False, sentence)
    if figures.log_e_pass >= log_threshold(spread.alpha):
        return Gate("residual", True, None)
    bound = "1 or more" if figures.rho_upper is None else f"as high as {figures.rho_upper:.3f}"
    sentence = (
        f"{name}: residual knowledge may be {bound}; "
        f"it was not shown to be below {margins.delta:g}."
    )
    return Gate("residual", False, sentence)


def _leak(name: str, figures: AttackFigures, margins: Margins) -> Gate:
    leak = figures.leak
    if leak.within(margins.leak_limit):
        return Gate("leak_rate", True, None)
    if leak.eligible == 0:
        sentence = (
            f"{name}: no fact has a gap of {margins.leak_gap_floor:g}, so leaks cannot be counted."
        )
        return Gate("leak_rate", False, sentence)
    sentence = (
        f"{name}: {leak.leaked} of {leak.eligible} facts leaked, so the share may be as high as "
        f"{leak.upper:.3f}; at most {margins.leak_limit:g} is allowed."
    )
    return Gate("leak_rate", False, sentence)


def _baseline_noise(name: str, figures: AttackFigures) -> Gate:
    blocked = [str(trial.seed) for trial in figures.self_test if not trial.passed]
    if not blocked:
        return Gate("baseline_noise", True, None)
    sentence = (
        f"{name}: the baseline is too noisy for delta, or the facts are too few: retrained "
        f"model {', '.join(blocked)} would not pass against the other retrained models."
    )
    return Gate("baseline_noise", False, sentence)
