"""Assessment of one attack: its evidence, its figures and the gates between it and a PASS."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from auditor.core.attack_id import AttackId
from auditor.core.messages import Message, message
from auditor.core.roles import Role, Status
from auditor.statistics.arms import Arms, Scope
from auditor.statistics.betting import log_threshold
from auditor.statistics.figures import AttackFigures, measure
from auditor.statistics.gates import Gate, measured_gates
from auditor.statistics.margins import Margins


@dataclass(frozen=True)
class ControlOutcome:
    """Result of a positive control: whether an attack found the suppression it is held to."""

    found: bool
    message: Message
    """What was there to be found, and what the attack made of it."""


@dataclass(frozen=True, eq=False)
class AttackEvidence:
    """Evidence of one attack at one level, or the reason why there is none.

    Attributes:
        id: the attack and its level.
        role: its role in the verdict.
        status: measured, failed or unavailable.
        reason: why there is no evidence; given if and only if the status is not measured.
        metric: the measure of K that decides on it.
        jobs: arm to the keys of its evidence.
        arms: K of every arm; given if and only if the status is measured.
        baseline: marks the one entry that is the model as it is, without attack.
        control: what it made of the positive control that it is held to; None where none was
            made.
        shortfall: how it falls short of the budget that is asked of it; None where it does not.
        environment: how the environments of its arms differ; None where they do not.
        effect: how it lacks the effect on what it was given that it must have; None where it does
            not, or declares none.
    """

    id: AttackId
    role: Role
    status: Status = Status.MEASURED
    reason: Message | None = None
    metric: str = ""
    jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arms: Arms | None = None
    baseline: bool = False
    control: ControlOutcome | None = None
    shortfall: Message | None = None
    environment: Message | None = None
    effect: Message | None = None

    def __post_init__(self) -> None:
        if (self.status is Status.MEASURED) != (self.arms is not None):
            raise ValueError(f"{self.id.label}: arms belong to status 'measured', and to it alone")
        if (self.status is Status.MEASURED) != (self.reason is None):
            raise ValueError(f"{self.id.label} is {self.status}: a reason belongs to what is not")
        if self.baseline and self.role is Role.REPORTED:
            raise ValueError(
                f"{self.id.label} is the model as it is, so it cannot be reported only"
            )


@dataclass(frozen=True)
class AttackAssessment:
    """What is known of one attack of the plan.

    Attributes:
        evidence: what was measured, or why nothing was.
        figures: None unless measured.
        gates: the conditions of a PASS, met or not; an advisory attack's never block.
        counts: its gap is large enough for its evidence to count towards FAIL.
        named: it shows a residual above delta on its own, at alpha / J (at alpha, where it is
            only reported).
        over_forgotten: it shows a residual below -delta on its own, likewise.
    """

    evidence: AttackEvidence
    figures: AttackFigures | None
    gates: tuple[Gate, ...]
    counts: bool
    named: bool
    over_forgotten: bool

    @property
    def passed(self) -> bool:
        """Whether every gate is met."""
        return all(gate.met for gate in self.gates)

    @property
    def label(self) -> str:
        """The attack and its level, as plans and readers have it."""
        return self.evidence.id.label

    @property
    def mandatory(self) -> bool:
        """Whether a PASS needs it."""
        return self.evidence.role is Role.MANDATORY


def assess(
    evidence: AttackEvidence,
    margins: Margins,
    scope: Scope,
    *,
    no_attack_gap: float | None,
    measured_attacks: int,
) -> AttackAssessment:
    """Work out the figures of one attack and the gates of a PASS.

    An attack's evidence counts towards FAIL (and towards OVER-FORGOTTEN) only where the lower
    bound of its gap reaches `minimum_gap`. Without that, an attack that harms the original
    more than the unlearned model (g < 0) would read U = R as residual knowledge. Setting an
    e-value to 0 on any event keeps its expectation at most 1, and J stays the number of
    measured attacks, so the false-FAIL rate stays at most alpha. Replacing it by 1, or
    dropping the attack from J, would depend on the data and be valid in neither case. The
    share of the no-attack gap is not asked here: a coarse attack that still separates O from
    R and finds knowledge in U has found it.

    Args:
        evidence: the attack and what was measured.
        margins: the policy's margins.
        scope: what the units are.
        no_attack_gap: mean gap of the model as it is, or None where it was not measured.
        measured_attacks: J, over which FAIL is shared; an attack that is only reported shares it
            with none.
    """
    label, reported = evidence.id.label, evidence.role is Role.REPORTED
    if evidence.arms is None:
        reason = message(
            "not_measured", attack=label, status=evidence.status.value, reason=evidence.reason
        )
        return AttackAssessment(
            evidence, None, (Gate("measured", False, reason),), False, False, False
        )
    tests = 1 if reported else measured_attacks
    figures = measure(
        evidence.arms,
        margins,
        scope,
        no_attack_gap=no_attack_gap,
        measured_attacks=tests,
        mandatory=evidence.role is Role.MANDATORY,
    )
    gates = measured_gates(label, figures, margins)
    if evidence.control is not None:
        found = evidence.control.found
        gates += (Gate("positive_control", found, None if found else evidence.control.message),)
    if evidence.shortfall is not None:
        gates += (Gate("budget", False, evidence.shortfall),)
    if evidence.environment is not None:
        gates += (Gate("environment", False, evidence.environment),)
    if evidence.effect is not None:
        gates += (Gate("effect", False, evidence.effect),)
    shared = log_threshold(margins.alpha, tests)
    counts = figures.gap_lower >= margins.minimum_gap
    return AttackAssessment(
        evidence=evidence,
        figures=figures,
        gates=gates,
        counts=counts,
        named=counts and figures.log_e_fail >= shared,
        over_forgotten=counts and figures.log_e_over >= shared,
    )
