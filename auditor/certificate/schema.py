"""The certificate as data: values and messages. Its JSON Schema is shipped beside this module."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, JsonValue, PrivateAttr

from auditor.certificate.distribution import DistributionPart, distribution
from auditor.certificate.media import ImageExamplesPart
from auditor.certificate.parts import ByArm, Part, absent
from auditor.core.attack_id import AttackId
from auditor.core.facts import SetName
from auditor.core.findings import AttackReport, Curve, Explanation, SelfCheck, SideFigure
from auditor.core.hashing import digest, has_digest
from auditor.core.messages import Message, plain
from auditor.core.roles import ControlKind, Role, Status
from auditor.statistics import (
    AssessedReading,
    AttackAssessment,
    AttackFigures,
    BaselineFinding,
    Flag,
    Gate,
    Scope,
    UtilityAssessment,
    Verdict,
)
from auditor.statistics.readings import strongest

SCHEMA_VERSION = "4.0.0"
"""Semantic version of the certificate's form; any change of form changes it.

Fields that a minor version adds are left out of the JSON where they are null. So a certificate of
an earlier minor version has the content, and the id, that it was made with.
"""


MAJOR = SCHEMA_VERSION.partition(".")[0]


class VerdictPart(Part):
    """Verdict of the audit."""

    verdict: Verdict
    flags: tuple[Flag, ...]
    claim: Message
    """What the certificate stands for, and nothing more."""
    reasons: tuple[Message, ...]
    """Why, and what blocks a PASS."""
    exit_code: Literal[0, 1, 3, 4]
    """What the command line returns."""


class SetPart(Part):
    """Size of a set of facts."""

    facts: int
    entities: int


class ArmPart(Part):
    """A model of the audit."""

    arm: str
    path: str
    revision: str | None
    adapter: str | None
    dtype: str
    digest: str
    """Sha256 over the sorted names and digests of its files."""
    files: dict[str, str]
    """Relative name to sha256; files of a replacement of weights begin with ``replacement/``."""
    options: dict[str, JsonValue] | None = Field(default=None, exclude_if=absent)
    """Settings that only models of its kind have (how a model draws, what replaced weights)."""


_OF_EVERY_KIND = frozenset(
    {"path", "kind", "revision", "adapter", "dtype", "device_map"}
    | {"trust_remote_code", "allow_pickle"}
)
"""Settings of a model that models of every kind have."""


def arm_options(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings of a model that only models of its kind have; None without any.

    Args:
        settings: what a plan says of the model, as plain data.
    """
    options = {
        name: value
        for name, value in settings.items()
        if name not in _OF_EVERY_KIND and value is not None
    }
    return options or None


class IdentityPart(Part):
    """Files that the certificate is about."""

    kind: str
    """Kind of the models, as plans call it."""
    arms: tuple[ArmPart, ...]
    facts_digest: str
    """Sha256 of the canonical JSON of the three sets."""
    plan_digest: str
    policy_digest: str
    """Of the policy as it was read, before any model was opened."""
    earlier_policies: tuple[str, ...]
    """Digests of other policies under which the same model and facts were audited before, as far
    as the evidence store knows."""
    auxiliary_inputs: dict[str, str] | None = Field(default=None, exclude_if=absent)
    """What measured beside the metrics' own code (``classifier``), and what was shown to the
    attacks (``pictures``): name to sha256 over the files."""


class ScopePart(Part):
    """What the claim is about."""

    scope: Scope
    sets: dict[str, SetPart]
    primary_metric: str
    deciding_metrics: tuple[str, ...] = ()
    """Further metrics that decide."""
    reported_metrics: tuple[str, ...]
    baseline_claim: Message | None
    """What the residual is relative to; null where nothing was measured."""


class WaiverPart(Part):
    """A demand of the policy that somebody lifted."""

    attack: str
    """Label of the attack that would be mandatory without it."""
    reason: str
    by: str
    until: str
    """Last day on which it holds, ISO 8601."""


class PolicyPart(Part):
    """Rules of the decision."""

    name: str
    delta: float
    alpha: float
    minimum_gap: float
    leak_limit: float
    utility_margin: float
    leaked_facts: int | None = Field(default=None, exclude_if=absent)
    """Facts that may leak in a census; absent: as many as the leak limit allows."""
    mandatory: tuple[str, ...]
    advisory: tuple[str, ...]
    reported: tuple[str, ...]
    """Attacks that count towards no verdict."""
    budgets: dict[str, dict[str, float]]
    """Label of a mandatory attack to the least value of each parameter that is its budget."""
    minimum_facts: int
    minimum_retrained: int
    valid_days: int | None
    """Days for which a certificate holds; null: no limit was set."""
    waivers: tuple[WaiverPart, ...]


class ReadingPart(Part):
    """What one deciding metric says of one attack."""

    metric: str
    """The measure of K that the figures are about."""
    figures: AttackFigures | None
    """What it showed; null unless measured. A bound that does not exist is null."""
    gates: tuple[Gate, ...]
    """Its conditions of a PASS."""
    counts: bool
    """Whether its gap is large enough for its evidence to count towards FAIL."""
    distribution: DistributionPart | None
    """Over the forget set; null where it was not measured."""

    @classmethod
    def from_assessed(cls, assessed: AssessedReading) -> "ReadingPart":
        """Make the part of a reading."""
        return cls(
            metric=assessed.metric,
            figures=assessed.figures,
            gates=assessed.gates,
            counts=assessed.counts,
            distribution=distribution(assessed.reading.arms),
        )


class MatrixRow(Part):
    """One attack at one level."""

    attack: str
    """Registered name, ``family/name``."""
    variant: str
    """Level."""
    role: Role
    """In the verdict."""
    status: Status
    reason: Message | None
    """Why there is no measurement."""
    parameters: dict[str, Any]
    named: bool
    """Its own evidence shows residual knowledge above delta."""
    over_forgotten: bool
    readings: tuple[ReadingPart, ...] = Field(min_length=1)
    """What each metric that decides on it shows; the leading one first."""
    shared_gates: tuple[Gate, ...]
    """Conditions of a PASS that no single metric is about."""
    forget: dict[str, ByArm]
    """Metric to mean K of the forget set by arm."""
    retain: dict[str, ByArm]
    holdout: dict[str, ByArm]
    explanation: Explanation | None
    side_figures: tuple[SideFigure, ...]
    curves: tuple[Curve, ...]
    notes: dict[str, dict[str, Any]]
    """Arm to what its measurement noted (recipe, class of layers, digest of texts)."""
    forward_tokens: int
    jobs: dict[str, tuple[str, ...]]
    """Arm to keys of its evidence."""

    @property
    def id(self) -> AttackId:
        """The attack and its level."""
        return AttackId(self.attack, self.variant)

    @property
    def label(self) -> str:
        """``family/name variant``."""
        return self.id.label

    @property
    def metric(self) -> str:
        """The leading metric."""
        return self.readings[0].metric

    @property
    def figures(self) -> AttackFigures | None:
        """What the leading metric shows."""
        return self.readings[0].figures

    @property
    def gates(self) -> tuple[Gate, ...]:
        """All conditions of a PASS."""
        return (*(gate for reading in self.readings for gate in reading.gates), *self.shared_gates)

    @property
    def strongest(self) -> ReadingPart:
        """The reading with the largest evidence of residual knowledge."""
        return strongest(self.readings)

    @property
    def report(self) -> AttackReport:
        """What the attack reports beside K, without its self-checks."""
        return AttackReport(
            notes=self.notes,
            explanation=self.explanation,
            side_figures=self.side_figures,
            curves=self.curves,
        )

    @classmethod
    def from_assessment(
        cls,
        assessment: AttackAssessment,
        means: Mapping[SetName, dict[str, ByArm]],
        report: AttackReport,
        parameters: Mapping[str, Any],
        forward_tokens: int,
    ) -> "MatrixRow":
        """Make the row of an attack.

        Args:
            assessment: its evidence, readings and gates.
            means: of each set of facts, metric to mean K by arm.
            report: what the attack reports beside K.
            parameters: of the attack.
            forward_tokens: tokens that went through models for it.
        """
        evidence = assessment.evidence
        return cls(
            attack=evidence.id.name,
            variant=evidence.id.variant,
            role=evidence.role,
            status=evidence.status,
            reason=evidence.reason,
            parameters=dict(parameters),
            named=assessment.named,
            over_forgotten=assessment.over_forgotten,
            readings=tuple(map(ReadingPart.from_assessed, assessment.readings)),
            shared_gates=assessment.shared_gates,
            forget=means["forget"],
            retain=means["retain"],
            holdout=means["holdout"],
            explanation=report.explanation,
            side_figures=report.side_figures,
            curves=report.curves,
            notes={arm: dict(notes) for arm, notes in report.notes.items()},
            forward_tokens=forward_tokens,
            jobs=dict(evidence.jobs),
        )


class ControlModelPart(Part):
    """A copy of the original with suppressed knowledge, and an attack's evidence on it."""

    kind: ControlKind
    grid: str | None
    """Name of the grid within whose cells the weights stayed."""
    left: float
    """Share of the gap without attack that is left."""
    digest: str
    """Of the copy's files."""
    as_is: dict[str, tuple[str, ...]]
    """Arm to keys of the evidence without attack; the copy stands as unlearned."""
    jobs: dict[str, tuple[str, ...]]
    """The same under the attack."""


class PositiveControlPart(Part):
    """Suppressed knowledge that a mandatory attack was given to find."""

    attack: str
    """Label."""
    required: ControlKind
    """What it must find."""
    found: bool
    message: Message
    """What was there to be found, and what the attack made of it."""
    visible: ControlModelPart
    obfuscated: ControlModelPart | None
    missing: Message | None
    """Why there is no obfuscated one."""


class ForgetQualityPart(Part):
    """The field's usual test, shown beside and never decided by (TOFU, arXiv 2401.06121)."""

    baseline: str
    p_value: float
    statistic: float


class UncertaintyPart(Part):
    """What the figures leave open."""

    residual_lower: float | None
    """Lower bound of the largest residual over all attacks."""
    residual_upper: float | None
    """Upper bound over the mandatory attacks; null: not bounded below 1."""
    residual_complete: bool
    """Whether every mandatory attack was measured."""
    log_e_fail: float | None
    fail_threshold: float
    facts_available: int
    facts_needed: int | None
    facts_needed_basis: Message | None
    facts_to_fail: int | None = None
    """Facts with which the attack that leans most to a FAIL would be expected to reach it."""
    retrained_models: int
    retrained_spread: float | None
    """Standard deviation over the retrained models of their mean K without attack."""
    forget_quality: tuple[ForgetQualityPart, ...]
    baselines: tuple[BaselineFinding, ...] = ()
    """What is wrong with the retrained models."""


class WorstFactPart(Part):
    """A fact on which the unlearned model knows more than the retrained ones."""

    fact: str
    entity: str
    prompt: str
    answer: str
    attack: str
    """Label of the attack that brings out most."""
    k: ByArm
    said: dict[str, str]
    """Arm to its greedy answer under that attack."""


class WorstEntityPart(Part):
    """An entity of which the unlearned model knows more than the retrained ones."""

    entity: str
    facts: int
    attack: str
    """Label of the attack that brings out most, on average over the entity's facts."""
    k: ByArm
    """Mean K by arm under that attack."""


class EvidencePart(Part):
    """Evidence that the verdict can be recomputed from."""

    jobs: dict[str, str]
    """Job key to the digest over its evidence files."""
    digest: str
    """Sha256 over the above."""


class ReproductionPart(Part):
    """How to measure it again."""

    command: str
    plan: dict[str, Any]
    seeds: tuple[int, ...]
    versions: dict[str, str]
    hardware: dict[str, str]
    determinism: Message


class TimingPart(Part):
    """All that differs between two runs of the same audit."""

    issued: str
    """UTC, ISO 8601."""
    expires: str | None
    """Issued plus the policy's days; null where the policy sets no limit."""
    started: str
    wall_seconds: float
    attack_seconds: dict[str, float]
    """Label to seconds over all arms, as measured when its evidence was made."""


class Certificate(Part):
    """An audit's result. Equal inputs on one machine give equal bytes, but for ``timing``."""

    schema_version: str = SCHEMA_VERSION
    certificate_id: str
    """Sha256 of the canonical JSON of everything but this field and ``timing``."""
    verdict: VerdictPart
    identity: IdentityPart
    scope: ScopePart
    policy: PolicyPart
    matrix: tuple[MatrixRow, ...]
    self_checks: tuple[SelfCheck, ...]
    """The attacks' checks of their own evidence."""
    utility: UtilityAssessment | None
    """What became of the retain set; null where it was not measured."""
    uncertainty: UncertaintyPart
    positive_controls: tuple[PositiveControlPart, ...]
    positive_controls_missing: Message | None
    """Why there are none; null where there are."""
    worst_entities: tuple[WorstEntityPart, ...]
    worst_facts: tuple[WorstFactPart, ...]
    image_examples: ImageExamplesPart | None = Field(default=None, exclude_if=absent)
    """Absent where the evidence holds no pictures."""
    redaction: Literal["none", "keyed digests"]
    """Whether texts, names and pictures of the facts are shown, or digests and coarse cells in
    their place."""
    evidence: EvidencePart
    warnings: tuple[Message, ...]
    limitations: tuple[Message, ...]
    reproduction: ReproductionPart
    timing: TimingPart
    converted_from: str | None = Field(default=None, exclude_if=absent)
    """Schema version of the certificate that this one was made from; its sentences are messages
    with the code ``text``, and follow from no evidence."""

    _written: dict[str, Any] | None = PrivateAttr(default=None)
    """The JSON of an earlier major version that this was read from."""

    @property
    def content_digest(self) -> str:
        """Sha256 of everything but the id and the timing; the id, if nobody edited it."""
        return digest(self._identified)

    @property
    def is_unedited(self) -> bool:
        """Whether the content has the id, in today's canonical form or in that of schema 3."""
        return has_digest(self._identified, self.certificate_id)

    @property
    def _identified(self) -> dict[str, Any]:
        document = self.document
        return {n: v for n, v in document.items() if n not in ("certificate_id", "timing")}

    @property
    def written_version(self) -> str:
        """Schema version that it was written in."""
        return self.converted_from or self.schema_version

    @property
    def document(self) -> dict[str, Any]:
        """The certificate as JSON has it: as it was read, if an earlier major version wrote it."""
        return self._written or self.model_dump(mode="json")

    def named(self) -> "Certificate":
        """The same certificate with the id of its content."""
        return self.model_copy(update={"certificate_id": self.content_digest})

    def as_read(self, written: Mapping[str, Any]) -> "Certificate":
        """The same certificate, with the JSON of an earlier major version that it was read from."""
        copy = self.model_copy()
        copy._written = plain(dict(written))
        return copy
