"""Assessment of one attack: evidence, readings and gates.

A gate that is not met keeps the attack from a PASS.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from auditor.core.attack_id import AttackId
from auditor.core.messages import Message, message
from auditor.core.roles import Role, Status
from auditor.statistics.agreement import contradiction
from auditor.statistics.arms import Arms, Scope
from auditor.statistics.betting import log_threshold
from auditor.statistics.figures import AttackFigures
from auditor.statistics.gates import Gate, GateName
from auditor.statistics.margins import Margins
from auditor.statistics.readings import (
    AssessedReading,
    Reading,
    assess_reading,
    log_e_fail,
    log_e_over,
)
from auditor.statistics.specificity import specific_answers


@dataclass(frozen=True)
class ControlOutcome:
    """Outcome of a positive control for one attack.

    It says whether the attack found the suppression to which it is held.
    """

    found: bool
    message: Message
    """Message on what was there to be found, and what the attack made of it."""


@dataclass(frozen=True, eq=False)
class AttackEvidence:
    """Evidence of one attack at one level, or why it is missing.

    Attributes:
        id: the attack and its level.
        role: its role in the verdict.
        status: measured, failed or unavailable.
        reason: why there is no evidence; given if and only if the status is not measured.
        readings: what each deciding metric read, the first one leading; their arms are given if
            and only if the status is measured.
        jobs: arm to the keys of its evidence.
        reported: what metrics that do not decide read, on the facts that they can read.
        baseline: marks the one entry that is the model as it is, without attack.
        control: what it made of the positive control that it is held to; None where none was
            made.
        shortfall: how it falls short of the budget that is asked of it; None where it does not.
        environment: how the environments of its arms differ; None where they do not.
        effect: how it lacks the effect on what it was given that it must have; None where it does
            not, or declares none.
        weights: what the weights themselves say against a PASS; None where nothing.
        dormant_units: that more units of the unlearned model never act than of any other; None
            where not.
        code: that the unlearned model's answers tell the facts in a code; None where not.
        specificity: how far each arm's own answers belong to the questions alone; None where that
            was not measured.
        tokenization: which arms' own tokenizers read facts otherwise than the original's; None
            where none does.
    """

    id: AttackId
    role: Role
    readings: tuple[Reading, ...] = (Reading(),)
    status: Status = Status.MEASURED
    reason: Message | None = None
    jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reported: tuple[Reading, ...] = ()
    baseline: bool = False
    control: ControlOutcome | None = None
    shortfall: Message | None = None
    environment: Message | None = None
    effect: Message | None = None
    weights: Message | None = None
    dormant_units: Message | None = None
    code: Message | None = None
    specificity: Arms | None = None
    tokenization: Message | None = None

    def __post_init__(self) -> None:
        measured = self.status is Status.MEASURED
        if not self.readings or any((r.arms is not None) != measured for r in self.readings):
            raise ValueError(f"{self.id.label}: arms belong to status 'measured', and to it alone")
        if measured != (self.reason is None):
            raise ValueError(f"{self.id.label} is {self.status}: a reason belongs to what is not")
        if self.baseline and self.role is Role.REPORTED:
            raise ValueError(
                f"{self.id.label} is the model as it is, so it cannot be reported only"
            )

    @property
    def metric(self) -> str:
        """The metric of the leading reading."""
        return self.readings[0].metric

    @property
    def arms(self) -> Arms | None:
        """K of every arm by the leading metric; None unless measured."""
        return self.readings[0].arms


@dataclass(frozen=True)
class AttackAssessment:
    """Assessment of one attack of the plan.

    Attributes:
        evidence: what was measured, or why nothing was.
        readings: what each deciding metric says of it, the leading one first.
        shared_gates: conditions of a PASS that all its readings share.
        parts: parts of alpha of which it has one in a FAIL; its weight is 1 / parts.
        log_e_fail: log of the mean e-value over its readings for "the residual is above delta";
            None where no reading counts.
        named: that e-value reaches parts / alpha.
        over_forgotten: the mean e-value for "the residual is below -delta" does likewise.
    """

    evidence: AttackEvidence
    readings: tuple[AssessedReading, ...]
    shared_gates: tuple[Gate, ...]
    parts: int
    log_e_fail: float | None
    named: bool
    over_forgotten: bool

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Conditions of a PASS, met or not.

        An advisory attack's never block.
        """
        return (*(gate for reading in self.readings for gate in reading.gates), *self.shared_gates)

    @property
    def passed(self) -> bool:
        """Whether every gate is met."""
        return all(gate.met for gate in self.gates)

    @property
    def figures(self) -> AttackFigures | None:
        """Figures of the leading reading; None unless measured."""
        return self.readings[0].figures

    @property
    def counts(self) -> bool:
        """Whether the evidence of any reading counts towards FAIL."""
        return any(reading.counts for reading in self.readings)

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
    no_attack_gaps: Mapping[str, float],
    parts: int,
    noise: Mapping[str, int] | None = None,
) -> AttackAssessment:
    """Compute the figures of one attack and its gates.

    A PASS needs the gates of every deciding metric. The e-value for FAIL is the mean over the
    metrics, so that each attack keeps one share of alpha, however many metrics decide.

    Args:
        evidence: the attack and what was measured.
        margins: the policy's margins.
        scope: what the units are.
        no_attack_gaps: metric to the mean gap of the model as it is; empty where it was not
            measured. For an attack with a measure of its own the leading one stands.
        parts: parts of alpha of which the attack has one in a FAIL; an attack that is only
            reported shares it with none.
        noise: metric to the most leaks of any retrained model by it; by default those under this
            attack.
    """
    label, reported = evidence.id.label, evidence.role is Role.REPORTED
    parts = 1 if reported else parts
    leading = next(iter(no_attack_gaps.values()), None)
    readings = tuple(
        assess_reading(
            label,
            reading,
            margins,
            scope,
            no_attack_gap=no_attack_gaps.get(reading.metric, leading),
            tests=parts * len(evidence.readings),
            mandatory=evidence.role is Role.MANDATORY,
            noise=None if noise is None else noise.get(reading.metric),
        )
        for reading in evidence.readings
    )
    fail, over = log_e_fail(readings), log_e_over(readings)
    shared = log_threshold(margins.alpha, parts)
    named = fail is not None and fail >= shared
    against = None
    if not named:
        against = contradiction(label, evidence.reported, margins, scope, parts)
    specific = specific_answers(label, evidence.specificity, margins, scope)
    return AttackAssessment(
        evidence=evidence,
        readings=readings,
        shared_gates=tuple(_shared_gates(evidence, against, specific)),
        parts=parts,
        log_e_fail=fail,
        named=named,
        over_forgotten=over is not None and over >= shared,
    )


def _shared_gates(
    evidence: AttackEvidence, against: Message | None, specific: Message | None
) -> Iterator[Gate]:
    """Yield the gates that do not depend on any metric."""
    if evidence.reason is not None:
        reason = message(
            "not_measured",
            attack=evidence.id.label,
            status=evidence.status.value,
            reason=evidence.reason,
        )
        yield Gate("measured", met=False, message=reason)
        return
    if evidence.control is not None:
        found = evidence.control.found
        yield Gate("positive_control", found, None if found else evidence.control.message)
    before: dict[GateName, Message | None] = {
        "budget": evidence.shortfall,
        "environment": evidence.environment,
    }
    after: dict[GateName, Message | None] = {
        "effect": evidence.effect,
        "weights": evidence.weights,
        "dormant_units": evidence.dormant_units,
        "answer_structure": evidence.code,
        "answer_specificity": specific,
        "tokenization": evidence.tokenization,
    }
    yield from _unmet(before)
    if evidence.reported:
        yield Gate("metrics_agree", against is None, against)
    yield from _unmet(after)


def _unmet(said: Mapping[GateName, Message | None]) -> Iterator[Gate]:
    """Yield a gate for everything that speaks against a PASS."""
    for name, against in said.items():
        if against is not None:
            yield Gate(name, met=False, message=against)
