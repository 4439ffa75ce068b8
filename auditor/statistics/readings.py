"""Readings of one attack by one metric, with their gates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from auditor.core.messages import Message, message
from auditor.statistics.arms import Arms, Scope
from auditor.statistics.betting import mean_log_e_value
from auditor.statistics.figures import AttackFigures, measure
from auditor.statistics.gates import Gate, measured_gates
from auditor.statistics.holdout_blocks import not_deciding
from auditor.statistics.margins import Margins
from auditor.statistics.null_gates import raised_null, uneven_null


@dataclass(frozen=True, eq=False)
class Reading:
    """Knowledge that one metric read under one attack.

    Attributes:
        metric: the measure of K.
        arms: K of every arm; None where the attack was not measured.
    """

    metric: str = ""
    arms: Arms | None = None


@dataclass(frozen=True)
class AssessedReading:
    """Reading of one attack by one deciding metric, assessed.

    Attributes:
        reading: what it read.
        figures: None unless measured.
        gates: its conditions of a PASS, met or not.
        counts: its gap is large enough for its evidence to count towards FAIL, and it is not
            only reported.
        only_reported: why it decides nothing, where facts were placed among others; None else.
    """

    reading: Reading
    figures: AttackFigures | None
    gates: tuple[Gate, ...]
    counts: bool
    only_reported: Message | None = None

    @property
    def metric(self) -> str:
        """The measure of K."""
        return self.reading.metric


def assess_reading(
    attack: str,
    reading: Reading,
    margins: Margins,
    scope: Scope,
    *,
    no_attack_gap: float | None,
    tests: int,
    mandatory: bool,
    noise: int | None = None,
) -> AssessedReading:
    """Work out the figures of one reading and its gates.

    Its evidence counts towards FAIL (and towards OVER-FORGOTTEN) only where the lower bound of
    its gap reaches `minimum_gap`. Without that, an attack that harms the original more than the
    unlearned model (g < 0) would read U = R as residual knowledge. Setting an e-value to 0 on any
    event keeps its expectation at most 1, and the number of tests stays as it is, so the
    false-FAIL rate stays at most alpha. The share of the no-attack gap is not asked here: a coarse
    attack that still separates O from R and finds knowledge in U has found it.

    Args:
        attack: label of the attack.
        reading: what was read.
        margins: the policy's margins.
        scope: what the units are.
        no_attack_gap: mean gap of the model as it is by the same metric, or None where it was not
            measured.
        tests: number over which alpha is shared.
        mandatory: whether the retrained models are also tested against each other.
        noise: most leaks of any retrained model by the same metric, under whichever attack.
    """
    if reading.arms is None:
        return AssessedReading(reading, None, (), counts=False)
    figures = measure(
        reading.arms,
        margins,
        scope,
        no_attack_gap=no_attack_gap,
        tests=tests,
        mandatory=mandatory,
        noise=noise,
    )
    gates = measured_gates(attack, reading.metric, figures, margins)
    silent = uneven_null(attack, reading.metric, reading.arms, margins)
    if reading.arms.null is not None:
        raised = silent or raised_null(attack, reading.metric, reading.arms, margins)
        gates += (Gate("null", raised is None, raised),)
    if reading.arms.blocks is not None:
        why = not_deciding(reading.arms, margins, scope)
        if why is not None:
            silent = message("placements_decide_nothing", attack=attack, reason=why)
        gates += (Gate("placements", silent is None, silent),)
    return AssessedReading(
        reading,
        figures,
        gates,
        counts=figures.gap_lower >= margins.minimum_gap and silent is None,
        only_reported=silent,
    )


def log_e_fail(readings: Sequence[AssessedReading]) -> float | None:
    """Return the log of the mean e-value over the readings.

    The e-value is that for "the residual is above delta" of one attack.

    A mean of e-values is an e-value, whatever their dependence. A reading that does not count
    enters as 0.

    Returns:
        None where none counts.
    """
    counting = [r.figures.log_e_fail for r in readings if r.figures is not None and r.counts]
    return mean_log_e_value(counting, len(readings))


def log_e_over(readings: Sequence[AssessedReading]) -> float | None:
    """The same for "the residual is below -delta"."""
    counting = [r.figures.log_e_over for r in readings if r.figures is not None and r.counts]
    return mean_log_e_value(counting, len(readings))


class Shown(Protocol):
    """Reading, as far as it is compared with others.

    The others are of the same attack.
    """

    @property
    def figures(self) -> AttackFigures | None:
        """None unless measured."""

    @property
    def counts(self) -> bool:
        """Whether its evidence counts towards FAIL."""


R = TypeVar("R", bound=Shown)


def strongest(readings: Sequence[R]) -> R:
    """The reading with the largest evidence for "the residual is above delta".

    Where none counts it is the leading one.
    """

    def evidence(reading: R) -> float:
        counts = reading.counts and reading.figures is not None
        return reading.figures.log_e_fail if counts and reading.figures else -math.inf

    return max(readings, key=evidence)
