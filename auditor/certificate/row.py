"""A row of the certificate's matrix as data: one attack at one level."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

ByArm = dict[str, float]
"""Mean K by arm (unlearned, original, retrained-0, …)."""


class Part(BaseModel):
    """Base of all parts of a certificate."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GatePart(Part):
    """A condition of PASS for one attack."""

    name: str
    met: bool
    sentence: str | None


class ExplanationPart(Part):
    """A figure of the weights or layers that says why knowledge comes back."""

    measure: str
    overall: float
    layers: dict[str, float]


class FiguresPart(Part):
    """What one attack showed. A bound that does not exist is null."""

    facts: int
    units: int
    gap_mean: float
    gap_lower: float
    gap_required: float | None
    rho: float | None
    """Residual knowledge: 0 as the retrained baseline, 1 as the original."""
    rho_lower: float | None
    rho_lower_shared: float | None
    """Lower bound at alpha divided by the number of attacks."""
    rho_upper: float | None
    """Upper bound at alpha; null means: not bounded below 1."""
    log_e_pass: float | None
    log_e_fail: float
    log_e_over: float
    leaked: int
    eligible: int
    leak_rate: float | None
    leak_upper: float


class SideFigurePart(Part):
    """A number that an attack reports beside K; nothing is decided by it."""

    name: str
    of: str
    """An arm, or one arm against another."""
    value: float
    lower: float | None
    upper: float | None
    remark: str | None


class MatrixRow(Part):
    """One attack at one level."""

    attack: str
    variant: str
    mandatory: bool
    reported: bool
    """It counts towards no verdict."""
    status: Literal["measured", "failed", "unavailable"]
    reason: str | None
    """Why there is no measurement."""
    probe: str
    """The measure of K that its figures are about."""
    parameters: dict[str, Any]
    named: bool
    """Its own evidence shows residual knowledge above delta."""
    over_forgotten: bool
    gates: tuple[GatePart, ...]
    figures: FiguresPart | None
    forget: dict[str, ByArm]
    """Probe to mean K of the forget set by arm."""
    retain: dict[str, ByArm]
    holdout: dict[str, ByArm]
    explanation: ExplanationPart | None
    side_figures: tuple[SideFigurePart, ...]
    notes: dict[str, dict[str, Any]]
    """Arm to what its measurement noted (recipe, class of layers, digest of texts)."""
    forward_tokens: int
    jobs: dict[str, tuple[str, ...]]
    """Arm to keys of its evidence."""

    @property
    def label(self) -> str:
        """``family/name variant``."""
        return f"{self.attack} {self.variant}"

    @property
    def part(self) -> Literal["mandatory", "advisory", "reported"]:
        """Its part in the verdict."""
        if self.mandatory:
            return "mandatory"
        return "reported" if self.reported else "advisory"
