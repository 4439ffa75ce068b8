"""Gates of a PASS.

Each one blocks it alone, and none may be dropped.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from auditor.core.messages import Message, message
from auditor.statistics.betting import log_threshold
from auditor.statistics.figures import AttackFigures
from auditor.statistics.leak_count import LeakCount
from auditor.statistics.margins import Margins

GateName = Literal[
    "measured",
    "sensitivity",
    "residual",
    "leak_rate",
    "baseline_noise",
    "placements",
    "positive_control",
    "budget",
    "environment",
    "metrics_agree",
    "effect",
    "weights",
    "dormant_units",
    "answer_structure",
    "answer_specificity",
    "tokenization",
    "null",
]


@dataclass(frozen=True)
class Gate:
    """One condition of a PASS."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    name: GateName
    met: bool
    message: Message | None
    """Message on what blocks a PASS; null where the gate is met."""


def measured_gates(
    attack: str, metric: str, figures: AttackFigures, margins: Margins
) -> tuple[Gate, ...]:
    """Return the gates of one metric on an attack that ran."""
    blocking: dict[GateName, Message | None] = {
        "measured": None,
        "sensitivity": _sensitivity(attack, metric, figures, margins),
        "residual": _residual(attack, metric, figures, margins),
        "leak_rate": _leak_rate(attack, metric, figures, margins),
        "baseline_noise": _baseline_noise(attack, metric, figures),
    }
    return tuple(Gate(name, said is None, said) for name, said in blocking.items())


def _sensitivity(
    attack: str, metric: str, figures: AttackFigures, margins: Margins
) -> Message | None:
    if figures.gap_required is None:
        return message("gap_without_attack_unknown", attack=attack, metric=metric)
    if figures.gap_lower >= figures.gap_required:
        return None
    return message(
        "gap_too_small",
        attack=attack,
        metric=metric,
        gap_mean=figures.gap_mean,
        gap_lower=figures.gap_lower,
        gap_required=figures.gap_required,
        alpha=margins.alpha,
    )


def _residual(attack: str, metric: str, figures: AttackFigures, margins: Margins) -> Message | None:
    spread = figures.spread
    if spread.delta is None or figures.log_e_pass is None:
        return message(
            "no_margin_left",
            attack=attack,
            metric=metric,
            retrained=spread.seeds,
            shrinkage=spread.shrinkage,
            delta=margins.delta,
        )
    if figures.log_e_pass >= log_threshold(spread.alpha):
        return None
    return message(
        "residual_not_below_margin",
        attack=attack,
        metric=metric,
        rho_upper=figures.rho_upper,
        delta=margins.delta,
    )


def _leak_rate(
    attack: str, metric: str, figures: AttackFigures, margins: Margins
) -> Message | None:
    if figures.leak_count is not None:
        return _leaks_counted(attack, metric, figures.leak_count, margins)
    leak = figures.leak
    if leak.within(margins.leak_limit):
        return None
    if leak.eligible == 0:
        return _leaks_not_countable(attack, metric, leak.eligible, margins)
    return message(
        "leak_rate_not_within_limit",
        attack=attack,
        metric=metric,
        leaked=leak.leaked,
        eligible=leak.eligible,
        upper=leak.upper,
        limit=margins.leak_limit,
    )


def _leaks_counted(attack: str, metric: str, count: LeakCount, margins: Margins) -> Message | None:
    if count.within:
        return None
    if not count.countable:
        return _leaks_not_countable(attack, metric, count.eligible, margins)
    return message(
        "leaks_above_limit",
        attack=attack,
        metric=metric,
        leaked=count.leaked,
        eligible=count.eligible,
        allowed=count.allowed,
    )


def _leaks_not_countable(attack: str, metric: str, eligible: int, margins: Margins) -> Message:
    return message(
        "leaks_not_countable",
        attack=attack,
        metric=metric,
        eligible=eligible,
        gap_floor=margins.leak_gap_floor,
    )


def _baseline_noise(attack: str, metric: str, figures: AttackFigures) -> Message | None:
    blocked = [trial.seed for trial in figures.self_test if not trial.passed]
    if not blocked:
        return None
    return message("baseline_too_noisy", attack=attack, metric=metric, retrained=blocked)
