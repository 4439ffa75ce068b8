"""Certificate as data: values and messages.

Its JSON Schema is shipped beside this module.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field, JsonValue, PrivateAttr, model_validator

from auditor.certificate.distribution import DistributionPart, distribution
from auditor.certificate.media import ImageExamplesPart
from auditor.certificate.parts import ByArm, Part, absent
from auditor.core.about import About
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline, is_retrained
from auditor.core.facts import SET_NAMES, FactSets, SetName
from auditor.core.findings import AttackReport, Curve, Explanation, SelfCheck, SideFigure
from auditor.core.hashing import digest, has_digest
from auditor.core.messages import Message, naming, plain
from auditor.core.paths import name_of_model
from auditor.core.roles import ControlKind, Role, Status
from auditor.models.manifest import Manifest
from auditor.models.provenance import Provenance
from auditor.models.weight_distances import WeightDistance
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
from auditor.store.history import PastAudit

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
    """Claim for which the certificate stands, and nothing more."""
    reasons: tuple[Message, ...]
    """Reasons for the verdict, and what blocks a PASS."""
    exit_code: Literal[0, 1, 3, 4]
    """Exit code of the command line."""
    baseline: Baseline = Field(default=Baseline.RETRAINED, exclude_if=is_retrained)
    """Baseline against which it was decided; absent: retrained models."""

    @property
    def title(self) -> str:
        """The verdict, with its baseline where no model was retrained."""
        if self.baseline is Baseline.RETRAINED:
            return str(self.verdict)
        return f"{self.verdict} ({self.baseline.replace('-', ' ')})"

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """The flags, and the baseline where no model was retrained."""
        usual = self.baseline is Baseline.RETRAINED
        return (*self.flags, *(() if usual else (self.baseline.replace("-", " "),)))

    def reasons_naming(self, most: int) -> tuple[Message, ...]:
        """Return the reasons, with at most so many facts named.

        A PASS names every fact that leaks whole.
        """
        if self.verdict == "PASS":
            return self.reasons
        return tuple(naming(reason, most) for reason in self.reasons)


class SetPart(Part):
    """Size of a set of facts."""

    facts: int
    entities: int


class ArmPart(Part):
    """A model of the audit."""

    arm: str
    path: str
    """Name of the model on the hub, or of its folder without the place where that lies."""
    revision: str | None
    adapter: str | None
    dtype: str
    digest: str
    """Sha256 over the sorted names and digests of its files."""
    files: dict[str, str]
    """Sha256 of each file by its relative name; files of a replacement of weights begin with
    ``replacement/``."""
    beside: tuple[str, ...] = Field(default=(), exclude_if=absent)
    """Further files that lay in its folder, and were not audited."""
    options: dict[str, JsonValue] | None = Field(default=None, exclude_if=absent)
    """Settings that only models of its kind have (how a model draws, what replaced weights)."""
    built: Provenance | None = Field(default=None, exclude_if=absent)
    """How a baseline was built, as the file beside its weights declares; null: nothing is known."""

    @property
    def name(self) -> str:
        """The model's name; certificates of earlier schemas have its whole path."""
        return name_of_model(self.path)

    @model_validator(mode="after")
    def _built_so(self) -> "ArmPart":
        weights = Manifest(files=self.files).weights_digest
        if self.built is not None and self.built.weights != weights:
            raise ValueError("`built` belongs to other weights than `files` names")
        return self


_OF_EVERY_KIND = frozenset(
    {"path", "kind", "revision", "adapter", "dtype", "device_map"}
    | {"trust_remote_code", "allow_pickle"}
)
"""Settings of a model that models of every kind have."""


def set_digests(sets: FactSets) -> dict[SetName, str]:
    """Return the digest of each set that holds facts."""
    return {
        name: digest([fact.model_dump(mode="json") for fact in facts])
        for name in SET_NAMES
        if (facts := sets.named(name))
    }


def arm_options(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings that only models of a kind have.

    None means that there are none.

    Args:
        settings: what a plan says of the model, as plain data.
    """
    options = {
        name: value
        for name, value in settings.items()
        if name not in _OF_EVERY_KIND and value is not None
    }
    return options or None


class EarlierAuditPart(Part):
    """An audit of the same unlearned model before this one."""

    plan_digest: str
    policy_digest: str
    facts_digest: str
    seeds: tuple[int, ...]
    at: str
    """When it began: UTC, ISO 8601."""

    @classmethod
    def from_past(cls, past: PastAudit) -> "EarlierAuditPart":
        """Make the part of an audit that the store remembers."""
        return cls(
            plan_digest=past.plan,
            policy_digest=past.policy,
            facts_digest=past.facts,
            seeds=past.seeds,
            at=past.at,
        )


class IdentityPart(Part):
    """Files that the certificate is about."""

    kind: str
    """Kind of the models, as plans call it."""
    arms: tuple[ArmPart, ...]
    facts_digest: str
    """Sha256 of the canonical JSON of the three sets."""
    set_digests: dict[SetName, str] | None = Field(default=None, exclude_if=absent)
    """Sha256 of the canonical JSON of each set that holds facts."""
    plan_digest: str
    """Sha256 of the canonical JSON of the plan, as the certificate has it."""
    policy_digest: str
    """Digest of the policy as it was read, before any model was opened."""
    earlier_policies: tuple[str, ...]
    """Digests of other policies under which the same model and facts were audited before, as far
    as the evidence store knows."""
    earlier_audits: tuple[EarlierAuditPart, ...] = Field(default=(), exclude_if=absent)
    """Audits of the same unlearned model on other facts or with other seeds, the first of each, as
    far as the evidence store knows."""
    auxiliary_inputs: dict[str, str] | None = Field(default=None, exclude_if=absent)
    """Sha256 over the files of each auxiliary input by its name: what measured beside the metrics'
    own code (``classifier``), and what was shown to the attacks (``pictures``)."""

    @property
    def built(self) -> dict[str, Provenance]:
        """Provenance of baselines that were built, by arm."""
        return {part.arm: part.built for part in self.arms if part.built is not None}


class WeightPairPart(Part):
    """Distance between the weights of two models."""

    one: str
    """Arm of a model."""
    other: str
    """Arm of the model that the distance is relative to."""
    shared: int
    """Tensors of equal name and shape."""
    compared: int
    """Those of them that were read."""
    equal: int
    """Those that were read whose numbers are equal."""
    change: float | None
    """Frobenius norm of the difference as a share of that of the other; null where there is nothing
    to compare."""
    flips: float | None
    """Share of the numbers of matrices whose 4-bit code differs (15 levels, a scale for each 64
    numbers); null where there is no matrix."""


class WeightsPart(Part):
    """Distances between the weights of the models."""

    budget: int
    """Numbers of each pair that are read at most, in whole tensors. They are read in the order of
    the sha256 of the unlearned model's digest, a space, and the tensor's folder and name."""
    job: str
    """Key of the evidence."""
    pairs: tuple[WeightPairPart, ...]

    @classmethod
    def from_distances(
        cls, job: str, budget: int, distances: Iterable[WeightDistance]
    ) -> "WeightsPart":
        """Make the part of the distances that a job found."""
        pairs = tuple(WeightPairPart(**asdict(distance)) for distance in distances)
        return cls(budget=budget, job=job, pairs=pairs)


class ScopePart(Part):
    """Scope of the claim."""

    scope: Scope
    sets: dict[str, SetPart]
    primary_metric: str
    deciding_metrics: tuple[str, ...] = ()
    """Metrics that decide besides the primary one."""
    reported_metrics: tuple[str, ...]
    baseline_claim: Message | None
    """Baseline to which the residual is relative; null where nothing was measured."""


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
    deciding_metrics: tuple[str, ...] | None = Field(default=None, exclude_if=absent)
    """Metrics that had to be among the deciding ones where they apply; absent: none."""
    mandatory: tuple[str, ...]
    advisory: tuple[str, ...]
    reported: tuple[str, ...]
    """Attacks that count towards no verdict."""
    budgets: dict[str, dict[str, float]]
    """Least value of each parameter that is a mandatory attack's budget, by the attack's label."""
    minimum_facts: int
    minimum_retrained: int
    minimum_baseline: Baseline = Field(default=Baseline.RETRAINED, exclude_if=is_retrained)
    """Weakest baseline against which a PASS is given; absent: retrained models."""
    valid_days: int | None
    """Days for which a certificate holds; null: no limit was set."""
    waivers: tuple[WaiverPart, ...]


class ReadingPart(Part):
    """Reading of one attack by one deciding metric."""

    metric: str
    """Measure of K that the figures are about."""
    figures: AttackFigures | None
    """Figures of the reading; null unless measured. A bound that does not exist is null."""
    gates: tuple[Gate, ...]
    """Conditions of a PASS on this metric."""
    counts: bool
    """Whether its gap is large enough for its evidence to count towards FAIL."""
    distribution: DistributionPart | None
    """Distribution of D over the forget set; null where it was not measured."""

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
    """Level of the attack."""
    role: Role
    """Role of the attack in the verdict."""
    status: Status
    reason: Message | None
    """Why there is no measurement."""
    parameters: dict[str, Any]
    named: bool
    """Whether its own evidence shows residual knowledge above delta."""
    over_forgotten: bool
    readings: tuple[ReadingPart, ...] = Field(min_length=1)
    """Readings of the metrics that decide on it; the leading one first."""
    shared_gates: tuple[Gate, ...]
    """Conditions of a PASS that no single metric is about."""
    forget: dict[str, ByArm]
    """Mean K of the forget set by metric and arm."""
    retain: dict[str, ByArm]
    holdout: dict[str, ByArm]
    explanation: Explanation | None
    side_figures: tuple[SideFigure, ...]
    curves: tuple[Curve, ...]
    notes: dict[str, dict[str, Any]]
    """Notes of the measurement by arm (recipe, class of layers, digest of texts)."""
    forward_tokens: int
    jobs: dict[str, tuple[str, ...]]
    """Keys of its evidence by arm."""

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
        """Figures of the leading metric."""
        return self.readings[0].figures

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Conditions of a PASS, those of all metrics."""
        return (*(gate for reading in self.readings for gate in reading.gates), *self.shared_gates)

    @property
    def strongest(self) -> ReadingPart:
        """The reading with the largest evidence of residual knowledge."""
        return strongest(self.readings)

    @property
    def report(self) -> AttackReport:
        """Report of the attack beside K, without its self-checks."""
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
            parameters: parameters of the attack.
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
    """Copy of the original with suppressed knowledge, under an attack.

    It holds the attack's evidence on the copy.
    """

    kind: ControlKind
    grid: str | None
    """Name of the grid within whose cells the weights stayed."""
    left: float
    """Share of the gap without attack that is left."""
    rescaled: bool | None = Field(default=None, exclude_if=absent)
    """Whether its weights were rescaled afterwards, its function unchanged; absent: no."""
    digest: str
    """Digest of the copy's files."""
    as_is: dict[str, tuple[str, ...]]
    """Keys of the evidence without attack by arm; the copy stands as unlearned."""
    jobs: dict[str, tuple[str, ...]]
    """Keys of the evidence under the attack by arm."""
    status: Status | None = Field(default=None, exclude_if=absent)
    """Status of the attack on the copy where it was not measured; absent: it was."""
    reason: Message | None = Field(default=None, exclude_if=absent)
    """Why it was not measured; absent: it was."""


class PositiveControlPart(Part):
    """Suppressed knowledge that a mandatory attack was given to find."""

    attack: str
    """Label of the attack."""
    required: ControlKind
    """Kind of control that the attack must find."""
    found: bool
    message: Message
    """Message on what was there to be found, and what the attack made of it."""
    visible: ControlModelPart
    obfuscated: ControlModelPart | None
    missing: Message | None
    """Reason why there is no obfuscated control."""


class ForgetQualityPart(Part):
    """The field's usual test of forgetting (TOFU, arXiv 2401.06121).

    It is shown beside the verdict and decides nothing.
    """

    baseline: str
    p_value: float
    statistic: float


class UncertaintyPart(Part):
    """Bounds of the residual and spread of the baseline."""

    residual_lower: float | None
    """Lower bound of the largest residual over all attacks."""
    residual_upper: float | None
    """Upper bound of the residual over the mandatory attacks; null: not bounded below 1."""
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
    """Fact on which U knows more than the retrained models."""

    fact: str
    entity: str
    prompt: str
    answer: str
    attack: str
    """Label of the attack that brings out most."""
    metric: str
    """The deciding metric that reads most."""
    k: ByArm
    said: dict[str, str]
    """Greedy answer of each arm under that attack."""
    said_as_released: str | None = Field(default=None, exclude_if=absent)
    """Greedy answer of the unlearned model without attack; absent where it was not recorded."""


class WorstEntityPart(Part):
    """Entity of which U knows more than the retrained models."""

    entity: str
    facts: int
    attack: str
    """Label of the attack that brings out most, on average over the entity's facts."""
    metric: str
    """The deciding metric that reads most."""
    k: ByArm
    """Mean K by arm under that attack."""


class EvidencePart(Part):
    """Evidence that the verdict can be recomputed from."""

    jobs: dict[str, str]
    """Digest over the evidence files of each job, by its key."""
    digest: str
    """Sha256 over the digests of the jobs."""


class FormatPart(Part):
    """A format of prompts that was tried on the original."""

    format: dict[str, Any]
    k: float
    """Mean K of a sample of the forget facts, by the primary metric."""
    job: str | None = Field(default=None, exclude_if=absent)
    """Key of its evidence."""


class PromptPart(Part):
    """A fact's prompt as the original reads it."""

    set: SetName
    fact: str
    text: str
    """Text of its tokens, special ones included."""
    tokens: int


class PromptsPart(Part):
    """What the models were asked, as they read it."""

    digests: dict[str, str]
    """Digest of the token ids of all facts by arm."""
    date: str | None = Field(default=None, exclude_if=absent)
    """Date that the chat template was told in the place of today's; absent: it asks for none."""
    shown: tuple[PromptPart, ...]
    """The first prompt of each set."""
    read: str | None = Field(default=None, exclude_if=absent)
    """Digest of the facts with all prompts as the original reads them, which lie beside the
    evidence; absent: they were not kept."""


class ReproductionPart(Part):
    """Plan and environment with which to measure it again."""

    command: str
    plan: dict[str, Any]
    seeds: tuple[int, ...]
    versions: dict[str, str]
    hardware: dict[str, str]
    determinism: Message
    formats: tuple[FormatPart, ...] = ()
    """Formats of prompts that were tried on the original, the plan's first."""
    prompts: PromptsPart | None = Field(default=None, exclude_if=absent)
    """Prompts as the models read them; absent for models that are asked in no tokens."""


class TimingPart(Part):
    """Times, which differ between two runs of the same audit."""

    issued: str
    """Time of issue: UTC, ISO 8601."""
    expires: str | None
    """Time of issue plus the policy's days; null where the policy sets no limit."""
    started: str
    wall_seconds: float
    attack_seconds: dict[str, float]
    """Seconds of each attack over all arms by its label, as measured when its evidence was made."""


class Certificate(Part):
    """Certificate of an audit.

    Equal inputs on one machine give equal bytes, but for ``timing``.
    """

    schema_version: str = SCHEMA_VERSION
    certificate_id: str
    """Sha256 of the canonical JSON of everything but this field and ``timing``."""
    about: About | None = Field(default=None, exclude_if=absent)
    """What whoever made the audit says of it; nobody checked it."""
    verdict: VerdictPart
    identity: IdentityPart
    weights: WeightsPart | None = Field(default=None, exclude_if=absent)
    """Distances between the weights of the models; absent where they were not compared."""
    scope: ScopePart
    policy: PolicyPart
    matrix: tuple[MatrixRow, ...]
    self_checks: tuple[SelfCheck, ...]
    """Checks of the attacks on their own evidence."""
    utility: UtilityAssessment | None
    """Assessment of the retain set; null where it was not measured."""
    uncertainty: UncertaintyPart
    positive_controls: tuple[PositiveControlPart, ...]
    positive_controls_missing: Message | None
    """Reason why there are no positive controls; null where there are."""
    worst_entities: tuple[WorstEntityPart, ...]
    worst_facts: tuple[WorstFactPart, ...]
    image_examples: ImageExamplesPart | None = Field(default=None, exclude_if=absent)
    """Pictures of facts; absent where the evidence holds none."""
    redaction: Literal["none", "keyed digests"]
    """Whether texts, names and pictures of the facts are shown, or digests and coarse cells in
    their place."""
    evidence: EvidencePart
    warnings: tuple[Message, ...]
    limitations: tuple[Message, ...]
    reproduction: ReproductionPart
    timing: TimingPart
    converted_from: str | None = Field(
        default=None, exclude_if=absent, pattern=r"^3\.\d{1,4}\.\d{1,4}$"
    )
    """Schema version of the certificate that this one was made from; its sentences are messages
    with the code ``text``, and follow from no evidence."""

    _written: dict[str, Any] | None = PrivateAttr(default=None)
    """JSON of an earlier major version from which this was read."""

    @property
    def content_digest(self) -> str:
        """Sha256 of everything but the id and the timing.

        It is the id, if nobody edited the certificate.
        """
        return digest(self._identified)

    @property
    def audited(self) -> ArmPart | None:
        """The model under audit."""
        return next((arm for arm in self.identity.arms if arm.arm == Arm.UNLEARNED), None)

    @property
    def name(self) -> str | None:
        """Name of the model under audit.

        It is its title, or else that of its folder or on the hub.
        """
        if self.about is not None and self.about.title is not None:
            return self.about.title
        return None if self.audited is None else self.audited.name

    @property
    def is_unedited(self) -> bool:
        """Whether the content has the id.

        The canonical form is today's, or that of schema 3.
        """
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
        """Certificate as JSON has it.

        One that an earlier major version wrote is as it was read.
        """
        return self._written or self.model_dump(mode="json")

    def named(self) -> "Certificate":
        """The same certificate with the id of its content."""
        return self.model_copy(update={"certificate_id": self.content_digest})

    def as_read(self, written: Mapping[str, Any]) -> "Certificate":
        """Return the certificate with the JSON of which it was read.

        The JSON is that of an earlier major version.
        """
        copy = self.model_copy()
        copy._written = plain(dict(written))
        return copy
