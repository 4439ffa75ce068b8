"""The certificate as data. Its JSON Schema is shipped beside this module."""

from typing import Any, Literal

from pydantic import Field

from auditor.certificate.arm import ArmPart
from auditor.certificate.exhibit import ExhibitsPart
from auditor.certificate.row import ByArm, MatrixRow, Part, absent
from auditor.core.hashing import digest, has_digest
from auditor.statistics import PlantKind

SCHEMA_VERSION = "3.1.0"
"""Semantic version of the certificate's form; any change of form changes it.

Fields that a minor version adds are left out of the JSON where they are null. So a certificate of
an earlier minor version has the content, and the id, that it was made with.
"""


class VerdictPart(Part):
    """What was decided, in words."""

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE"]
    flags: tuple[Literal["OVER-FORGOTTEN", "UTILITY LOST", "WAIVED"], ...]
    """WAIVED: something that the policy demands was lifted by a waiver."""
    claim: str
    """The one sentence that the certificate stands for, and nothing more."""
    reasons: tuple[str, ...]
    """Why, and what blocks a PASS."""
    exit_code: Literal[0, 1, 3, 4]
    """What the command line returns."""


class SetPart(Part):
    """A set of facts."""

    facts: int
    entities: int


class IdentityPart(Part):
    """Which files the certificate is about."""

    arms: tuple[ArmPart, ...]
    facts_digest: str
    """Sha256 of the canonical JSON of the three sets."""
    plan_digest: str
    policy_digest: str
    """Of the policy as it was read, before any model was opened."""
    earlier_policies: tuple[str, ...]
    """Digests of other policies under which the same model and facts were audited before, as far
    as the evidence store knows."""
    instruments: dict[str, str] | None = Field(default=None, exclude_if=absent)
    """What measured beside the metrics' own code (``classifier``), and what was shown to the
    attacks (``pictures``): name to sha256 over the files."""


class ThreatPart(Part):
    """What an attack stands for."""

    attack: str
    family: str
    summary: str
    """What it does."""
    threat_model: str | None
    """Who would do this; null where the attack does not say, as below."""
    access: str | None
    cost: str | None
    leak: str | None
    """What hidden knowledge looks like under it."""
    source: str | None


class ScopePart(Part):
    """What the claim is about, and against whom it holds."""

    scope: Literal["census", "sampled"]
    statement: str
    sets: dict[str, SetPart]
    primary_metric: str
    reported_metrics: tuple[str, ...]
    baseline_claim: str | None
    """What the residual is relative to; None where nothing was measured."""
    threats: tuple[ThreatPart, ...]


class WaiverPart(Part):
    """A demand of the policy that somebody lifted."""

    attack: str
    """Label of the attack that would be mandatory without it."""
    reason: str
    by: str
    until: str
    """Last day on which it holds, ISO 8601."""


class PolicyPart(Part):
    """The rules of the decision."""

    name: str
    delta: float
    alpha: float
    minimum_gap: float
    leak_limit: float
    utility_margin: float
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


class SightPart(Part):
    """An attack on a copy of the original with a suppression planted in it."""

    kind: PlantKind
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
    """What a mandatory attack was given to find, and where the evidence of it is."""

    attack: str
    """Label."""
    must_find: PlantKind
    partial: SightPart
    hidden: SightPart | None
    hidden_missing: str | None
    """Why nothing hidden was planted."""


class ControlPart(Part):
    """A check on the audit itself."""

    name: str
    passed: bool | None
    """None: it was not run."""
    sentence: str


class UtilityPart(Part):
    """Whether the model still knows what it should."""

    state: Literal["kept", "lost", "undetermined", "not measured"]
    sentence: str
    facts: int
    mean_unlearned: float | None
    mean_original: float | None
    log_e_kept: float | None
    log_e_lost: float | None


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
    facts_needed_basis: str | None
    retrained_models: int
    retrained_spread: float | None
    """Standard deviation over the retrained models of their mean K without attack."""
    forget_quality: tuple[ForgetQualityPart, ...]


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
    """A entity of which the unlearned model knows more than the retrained ones."""

    entity: str
    facts: int
    attack: str
    """Label of the attack that brings out most, on average over the entity's facts."""
    k: ByArm
    """Mean K by arm under that attack."""


class EvidencePart(Part):
    """The evidence that the verdict can be recomputed from."""

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
    determinism: str


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
    controls: tuple[ControlPart, ...]
    utility: UtilityPart
    uncertainty: UncertaintyPart
    positive_controls: tuple[PositiveControlPart, ...]
    """Empty where none were run."""
    worst_entities: tuple[WorstEntityPart, ...]
    worst_facts: tuple[WorstFactPart, ...]
    exhibits: ExhibitsPart | None = Field(default=None, exclude_if=absent)
    """Absent where the evidence holds no pictures."""
    redaction: Literal["none", "keyed digests"]
    """Whether texts, names and pictures of the facts are shown, or digests and coarse cells in
    their place."""
    evidence: EvidencePart
    warnings: tuple[str, ...]
    limitations: tuple[str, ...]
    reproduction: ReproductionPart
    timing: TimingPart

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
        return self.model_dump(mode="json", exclude={"certificate_id", "timing"})

    def named(self) -> "Certificate":
        """The same certificate with the id of its content."""
        return self.model_copy(update={"certificate_id": self.content_digest})
