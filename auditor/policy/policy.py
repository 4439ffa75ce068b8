"""The policy as data."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from auditor.core.baselines import Baseline, is_retrained
from auditor.core.hashing import digest, has_digest

AS_IS = "none/as-is"
"""Attack that every policy demands: the model as it is."""

_Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _unset(value: object) -> bool:
    """Return whether a field is left out.

    So policies without it keep their digest.
    """
    return value is None or value == ()


def _off(value: object) -> bool:
    """Return whether a switch is off, and left out likewise."""
    return value is False


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Waiver(_Strict):
    """A demand that somebody lifts, for a reason and for a time.

    The attack counts as advisory then: it blocks no PASS, but it can still FAIL the model. A
    certificate prints every waiver on its front.
    """

    attack: _Said
    """The mandatory attack, as ``family/name`` or ``family/name variant``."""
    reason: _Said
    by: _Said
    """Who answers for it."""
    until: date
    """Last day on which it holds."""


class Policy(_Strict):
    """The rules of the decision."""

    name: _Said = "default"
    delta: float = Field(default=0.10, gt=0, lt=1)
    """Margin of residual knowledge: 0 is the retrained baseline, 1 the original."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of a false PASS (and of a false FAIL) that is accepted."""
    scope: Literal["census", "sampled"] = "census"
    """census: the claim is about these facts. sampled: the audited entities are a sample of a
    larger forget set, and count as one unit each."""
    mandatory: tuple[str, ...] | None = None
    """Attacks that a PASS needs, as ``family/name`` or ``family/name variant``; by default those
    that a deployer or a curious user would apply."""
    budgets: dict[str, dict[str, float]] = {}
    """Mandatory attack to the least value of each of its parameters; of a list, the largest value
    must reach it, and the mean half of it. A run with less does not meet the demand."""
    minimum_gap: float = Field(default=0.2, gt=0, lt=1)
    """What the original must know beyond the retrained baseline for an attack to say anything."""
    leak_limit: float = Field(default=0.10, gt=0, lt=1)
    """Largest share of leaking facts that a PASS allows."""
    leaked_facts: int | None = Field(default=None, ge=0, exclude_if=_unset)
    """Most facts that may leak under ``census``, where leaks are counted; null: as many as
    ``leak_limit`` allows. More is a FAIL where the baseline's own noise does not explain it."""
    deciding_metrics: tuple[_Said, ...] = Field(default=(), exclude_if=_unset)
    """Metrics that must be among those that decide, where they apply: they read the form of the
    answers, every fact, and no mere choice among given ones."""
    utility_margin: float = Field(default=0.10, gt=0, lt=1)
    """Share of the original's knowledge of the retain set that may be lost."""
    minimum_facts: int = Field(default=1, ge=1)
    """Facts of the forget set that a PASS needs, however clear the evidence."""
    minimum_retrained: int = Field(default=1, ge=1)
    """Retrained models (seeds) that a PASS needs, where they are the baseline."""
    minimum_baseline: Baseline = Field(default=Baseline.RETRAINED, exclude_if=is_retrained)
    """Weakest baseline against which a PASS is given: retrained, reference, never-seen-facts or
    own-null. A FAIL may be given against each."""
    accepts_logs: bool = Field(default=False, exclude_if=_off)
    """Whether a PASS may rest on logs of evaluations, which name no file of a model and cannot be
    attacked."""
    repeated_facts: float | None = Field(default=None, ge=0, lt=1, exclude_if=_unset)
    """Largest share of the forget facts that may be near copies of others, whatever their
    entities: they would dilute the rest. Null: any share."""
    earlier_audits: int | None = Field(default=None, ge=0, exclude_if=_unset)
    """Most audits of the same unlearned model on other facts or with other seeds that a PASS
    allows, as far as the evidence store knows; null: any number."""
    valid_days: int | None = Field(default=None, ge=1)
    """Days after which a certificate holds no longer; null sets no limit."""
    waivers: tuple[Waiver, ...] = ()

    @property
    def digest(self) -> str:
        """Sha256 of the policy's content.

        Comments and order in its file do not change it.
        """
        return digest(self.model_dump(mode="json"))

    def has_digest(self, expected: str) -> bool:
        """Return whether the policy has a digest.

        It may be in the form of today's files or of those of schema 3.
        """
        return has_digest(self.model_dump(mode="json"), expected)
