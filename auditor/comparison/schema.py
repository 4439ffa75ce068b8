"""Differences between two certificates, as data.

They decide nothing.
"""

from typing import Any, Literal

from auditor.certificate.parts import Part
from auditor.core.attack_id import AttackId
from auditor.core.messages import Message
from auditor.core.roles import Role, Status

Aspect = Literal[
    "forget set",
    "retain set",
    "holdout set",
    "original model",
    "retrained models",
    "baseline",
    "primary metric",
    "auxiliary inputs",
    "scope",
    "policy",
]
"""Aspects in which two certificates may differ."""
Outcome = Literal["leak found", "within margin", "undecided", "failed", "unavailable"]
"""Outcome of an attack, in the words of the certificate's page."""


class Side(Part):
    """One of the two certificates."""

    path: str
    certificate_id: str
    issued: str
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE"]
    flags: tuple[str, ...]
    claim: Message
    primary_metric: str
    scope: str
    facts: int | None
    """Number of facts in the forget set."""
    facts_digest: str
    """Digest of the forget set; of all three sets in certificates of earlier schemas."""
    policy: str
    policy_digest: str
    residual_lower: float | None
    residual_upper: float | None
    redaction: Literal["none", "keyed digests"]
    claimed_keys: tuple[str, ...] | None
    """Ids of the keys that are said to have signed it; nobody checked. Null: not a signed envelope.
    """


class Obstacle(Part):
    """A difference between what two certificates measured, or how they decided."""

    about: Aspect
    message: Message


class ModelChange(Part):
    """A model of either audit."""

    arm: str
    path_a: str | None
    path_b: str | None
    digest_a: str | None
    digest_b: str | None
    same: bool
    """Whether the files are the same."""


class ValueChange(Part):
    """A number or a list that is not the same in both."""

    name: str
    a: Any
    b: Any


class AttackSide(Part):
    """One attack in one of the certificates.

    What was not measured is null.
    """

    status: Status
    outcome: Outcome
    reason: Message | None
    role: Role
    metric: str
    named: bool
    over_forgotten: bool
    k_unlearned: float | None
    k_retrained: float | None
    """Mean K over the retrained models."""
    k_original: float | None
    rho: float | None
    rho_lower: float | None
    rho_upper: float | None
    leaked: int | None
    eligible: int | None
    leak_upper: float | None
    unmet: tuple[str, ...]
    """Gates that are not met, each with its metric where several decide."""


class PairedDifference(Part):
    """Mean difference of D over the facts, B minus A.

    D is K_U minus the mean K_R.

    Both audits asked the same facts, so each fact is its own comparison. Where both rest on the
    same measurement of the retrained models it is K_U in B minus K_U in A.
    """

    units: int
    """Number of facts, or of entities where the audited entities are a sample."""
    mean: float
    lower: float
    upper: float
    rose: int
    """Number of facts of which B knows more."""
    fell: int
    same_baseline: bool
    """Whether both rest on the same measurement of the retrained models. Otherwise the interval is
    twice as wide, since the difference may be anywhere from -2 to 2."""


class AttackChange(Part):
    """One attack at one level, in both certificates or in one."""

    attack: str
    variant: str
    a: AttackSide | None
    b: AttackSide | None
    parameters: tuple[ValueChange, ...]
    """Parameters and numbers of seeds that differ; empty where only one has the attack."""
    k_unlearned_change: float | None
    """K of the unlearned model, B minus A; null unless facts and measure are the same and both were
    measured."""
    rho_change: float | None
    """rho, B minus A; null unless the original and the retrained models are the same, too."""
    newly_named: bool
    paired: PairedDifference | None

    @property
    def label(self) -> str:
        """``family/name variant``."""
        return AttackId(self.attack, self.variant).label


class ChangedFact(Part):
    """A fact of which the two unlearned models know most differently."""

    fact: str
    entity: str
    prompt: str
    answer: str
    attack: str
    """Label of the attack under which they differ most."""
    change: float
    """D in B minus D in A."""
    k_a: float
    k_b: float
    said_a: str | None
    """What the model of A answered. Null: the model was not made to speak."""
    said_b: str | None


class PairedPart(Part):
    """Differences fact by fact, from the evidence of both."""

    possible: bool
    why_not: Message | None
    alpha: float | None
    unit: Literal["facts", "entities"] | None
    facts: tuple[ChangedFact, ...]
    facts_missing: Message | None
    """Why no facts are listed; null where the reason is that none changed."""


class UtilityChange(Part):
    """Knowledge of the retain set."""

    state_a: str
    state_b: str
    unlearned_a: float | None
    unlearned_b: float | None
    original_a: float | None
    original_b: float | None
    change: float | None
    """Mean K of the unlearned model, B minus A; null unless facts and metric are the same."""


class Comparison(Part):
    """Two certificates, A before B."""

    a: Side
    b: Side
    comparable: bool
    """Whether forget set, primary metric and what it reads with, original model and baseline are
    the same, so that figures are of one measure."""
    verdicts_comparable: bool
    """Whether scope and policy are the same, too, so that verdicts are of one rule."""
    obstacles: tuple[Obstacle, ...]
    """Differences that make figures incomparable."""
    differences: tuple[Obstacle, ...]
    """Further differences, with which figures of the forget set can still be compared."""
    worse: tuple[Message, ...]
    """Ways in which B is worse than A: its verdict, or an attack that is newly named."""
    flags_only_a: tuple[str, ...]
    flags_only_b: tuple[str, ...]
    policy: tuple[ValueChange, ...]
    models: tuple[ModelChange, ...]
    attacks: tuple[AttackChange, ...]
    utility: UtilityChange
    paired: PairedPart
    warnings_only_a: tuple[Message, ...]
    warnings_only_b: tuple[Message, ...]
