"""What one attack shows: its figures, and the gates that stand between it and a PASS."""

from dataclasses import dataclass
from typing import Literal

from auditor.statistics.arms import Arms, Scope
from auditor.statistics.betting import log_threshold
from auditor.statistics.figures import AttackFigures, measure
from auditor.statistics.gates import Gate, measured_gates
from auditor.statistics.margins import Margins

Status = Literal["measured", "failed", "unavailable"]


PlantKind = Literal["partial", "hidden"]
"""A suppression planted for attacks to find: knowledge that is partly there for everybody to see,
or that is gone until something brings it back."""


@dataclass(frozen=True)
class Control:
    """A positive control: a suppression planted for an attack to find."""

    found: bool
    sentence: str
    """What was planted and what the attack made of it."""


@dataclass(frozen=True, eq=False)
class AttackArms:
    """One attack of the plan, with its evidence where there is any.

    Attributes:
        attack: registered name.
        variant: level or configuration.
        mandatory: whether it can block a PASS.
        status: measured, failed or unavailable.
        reason: why it failed or is unavailable.
        arms: the evidence; given if and only if the status is measured.
        baseline: marks the one entry that is the model as it is, without attack.
        reported: its figures are shown, and count towards no verdict.
        control: whether it found the planted suppression that it is held to, and how that is
            said; None where nothing was planted.
        shortfall: how it falls short of the budget that is asked of it; None where it does not.
    """

    attack: str
    variant: str
    mandatory: bool
    status: Status = "measured"
    reason: str | None = None
    arms: Arms | None = None
    baseline: bool = False
    reported: bool = False
    control: Control | None = None
    shortfall: str | None = None

    def __post_init__(self) -> None:
        if (self.status == "measured") != (self.arms is not None):
            raise ValueError(f"{self.name}: arms belong to status 'measured', and to it alone")
        if self.status != "measured" and not self.reason:
            raise ValueError(f"{self.name} is {self.status}, but no reason is given")
        if self.reported and (self.mandatory or self.baseline):
            raise ValueError(f"{self.name} counts towards no verdict, so a PASS cannot need it")

    @property
    def name(self) -> str:
        """The attack and its variant, as a reader is told."""
        return f"{self.attack} {self.variant}".strip()


@dataclass(frozen=True)
class AttackAssessment:
    """What is known of one attack of the plan.

    Attributes:
        attack: registered name.
        variant: level or configuration.
        mandatory: whether it can block a PASS.
        baseline: whether it is the model as it is.
        reported: whether it counts towards no verdict.
        status: measured, failed or unavailable.
        reason: why it failed or is unavailable.
        figures: None unless measured.
        gates: the conditions of a PASS, met or not; an advisory attack's never block.
        passed: every gate is met.
        counts: its gap is large enough for its evidence to count towards FAIL.
        named: it shows a residual above delta on its own, at alpha / J (at alpha, where it is
            only reported).
        over_forgotten: it shows a residual below -delta on its own, likewise.
    """

    attack: str
    variant: str
    mandatory: bool
    baseline: bool
    reported: bool
    status: Status
    reason: str | None
    figures: AttackFigures | None
    gates: tuple[Gate, ...]
    passed: bool
    counts: bool
    named: bool
    over_forgotten: bool

    @property
    def name(self) -> str:
        """The attack and its variant, as a reader is told."""
        return f"{self.attack} {self.variant}".strip()


def assess(
    entry: AttackArms,
    margins: Margins,
    scope: Scope,
    *,
    no_attack_gap: float | None,
    measured_attacks: int,
) -> AttackAssessment:
    """Returns the figures of one attack and the gates of a PASS.

    An attack's evidence counts towards FAIL (and towards OVER-FORGOTTEN) only where the lower
    bound of its gap reaches `minimum_gap`. Without that, an attack that harms the original
    more than the unlearned model (g < 0) would read U = R as residual knowledge. Setting an
    e-value to 0 on any event keeps its expectation at most 1, and J stays the number of
    measured attacks, so the false-FAIL rate stays at most alpha. Replacing it by 1, or
    dropping the attack from J, would depend on the data and be valid in neither case. The
    share of the no-attack gap is not asked here: a coarse attack that still separates O from
    R and finds knowledge in U has found it.

    Args:
        entry: the attack and its evidence.
        margins: the policy's margins.
        scope: what the units are.
        no_attack_gap: mean gap of the model as it is, or None where it was not measured.
        measured_attacks: J, over which FAIL is shared; an attack that is only reported shares it
            with none.
    """
    if entry.reported:
        measured_attacks = 1
    figures: AttackFigures | None = None
    counts = named = over = False
    if entry.arms is None:
        verb = "failed" if entry.status == "failed" else "could not run here"
        gates: tuple[Gate, ...] = (Gate("measured", False, f"{entry.name} {verb}: {entry.reason}"),)
    else:
        figures = measure(
            entry.arms,
            margins,
            scope,
            no_attack_gap=no_attack_gap,
            measured_attacks=measured_attacks,
            mandatory=entry.mandatory,
        )
        gates = measured_gates(entry.name, figures, margins)
        if entry.control is not None:
            found = entry.control.found
            gates += (Gate("positive_control", found, None if found else entry.control.sentence),)
        if entry.shortfall is not None:
            gates += (Gate("budget", False, entry.shortfall),)
        shared = log_threshold(margins.alpha, measured_attacks)
        counts = figures.gap_lower >= margins.minimum_gap
        named = counts and figures.log_e_fail >= shared
        over = counts and figures.log_e_over >= shared
    return AttackAssessment(
        attack=entry.attack,
        variant=entry.variant,
        mandatory=entry.mandatory,
        baseline=entry.baseline,
        reported=entry.reported,
        status=entry.status,
        reason=entry.reason,
        figures=figures,
        gates=gates,
        passed=all(gate.met for gate in gates),
        counts=counts,
        named=named,
        over_forgotten=over,
    )
