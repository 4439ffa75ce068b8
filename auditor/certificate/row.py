"""A row of the certificate's matrix as data: one attack at one level."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

ByArm = dict[str, float]
"""Mean K by arm (unlearned, original, retrained-0, …)."""


def absent(value: object) -> bool:
    """Whether a field that a minor version added is left out of the JSON."""
    return value is None


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


class CurvePart(Part):
    """A curve that an attack reports beside K; nothing is decided by it."""

    name: str
    """What it is (``learning curve``, ``ROC``); curves of one name belong in one figure."""
    of: str
    """The arm."""
    x: str
    """What is along, with its unit."""
    y: str
    points: tuple[tuple[float, float], ...]
    """In the order of x."""
    remark: str | None
    """What limits it (how many holdout facts a ROC rests on)."""


class DistributionPart(Part):
    """How D is spread over the facts: a mean near 0 may hide a few facts that leak whole.

    D is K of the unlearned model minus the mean K of the retrained models. Each count is of
    facts in one of 40 bins of equal width from -1 to 1; a bin holds its lower edge, the last both.
    """

    unlearned: tuple[int, ...]
    retrained: tuple[int, ...] | None
    """The same with the first retrained model in place of the unlearned one, against the others:
    what chance alone does. Null with one retrained model."""


class MatrixRow(Part):
    """One attack at one level."""

    attack: str
    variant: str
    mandatory: bool
    waived: bool
    """The policy demands it, and a waiver lifts that: it is not mandatory."""
    reported: bool
    """It counts towards no verdict."""
    status: Literal["measured", "failed", "unavailable"]
    reason: str | None
    """Why there is no measurement."""
    metric: str
    """The measure of K that its figures are about."""
    parameters: dict[str, Any]
    named: bool
    """Its own evidence shows residual knowledge above delta."""
    over_forgotten: bool
    gates: tuple[GatePart, ...]
    figures: FiguresPart | None
    forget: dict[str, ByArm]
    """Metric to mean K of the forget set by arm."""
    retain: dict[str, ByArm]
    holdout: dict[str, ByArm]
    explanation: ExplanationPart | None
    side_figures: tuple[SideFigurePart, ...]
    curves: tuple[CurvePart, ...]
    distribution: DistributionPart | None
    """Of the metric that decides, over the forget set; null where it was not measured."""
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
    def part(self) -> Literal["mandatory", "waived", "advisory", "reported"]:
        """Its part in the verdict."""
        if self.mandatory:
            return "mandatory"
        if self.waived:
            return "waived"
        return "reported" if self.reported else "advisory"
