"""What an attack sees of a plant, and the sentence that says what that means."""

from dataclasses import dataclass

from auditor.statistics import AttackAssessment, Control, PlantKind
from auditor.statistics.betting import log_threshold


@dataclass(frozen=True)
class Planted:
    """A suppression that was planted.

    Attributes:
        kind: how much it leaves.
        grid: name of the grid within whose cells the weights stayed, if any.
        left: share of the gap without attack that is left.
    """

    kind: PlantKind
    grid: str | None
    left: float


@dataclass(frozen=True)
class Sight:
    """An attack's figures on a plant.

    Attributes:
        plant: what it looked at.
        assessment: its figures there.
        alpha: of the policy.
        tests: attacks over which the audit shares alpha.
    """

    plant: Planted
    assessment: AttackAssessment
    alpha: float
    tests: int

    @property
    def named(self) -> bool:
        """Whether the audit would name the attack, were the plant the unlearned model.

        The e-value must reach the audit's own threshold, over all its attacks.
        """
        figures = self.assessment.figures
        return (
            figures is not None
            and self.assessment.counts
            and figures.log_e_fail >= log_threshold(self.alpha, self.tests)
        )

    @property
    def planted(self) -> str:
        """The plant in words."""
        within = f", within the cells of {self.plant.grid}" if self.plant.grid else ""
        return f"{self.plant.left:.2f} of the gap left without attack{within}"

    @property
    def residual(self) -> str:
        """What was seen, in words."""
        figures = self.assessment.figures
        if figures is None:
            return f"no figures ({self.assessment.reason})"
        if figures.rho is None:
            return "no gap between the original and the retrained models"
        lower = "no lower bound" if figures.rho_lower is None else f"≥ {figures.rho_lower:.2f}"
        upper = "no upper bound" if figures.rho_upper is None else f"≤ {figures.rho_upper:.2f}"
        return f"residual knowledge {figures.rho:.2f} ({lower}, {upper})"

    @property
    def why_not(self) -> str:
        """Why it is not named."""
        figures = self.assessment.figures
        if figures is None:
            return ""
        if not self.assessment.counts:
            return ", and it does not tell the original from the retrained models well enough"
        return (
            f", with a log e-value of {figures.log_e_fail:.1f} where "
            f"{log_threshold(self.alpha, self.tests):.1f} is needed"
        )


def control(label: str, must_find: PlantKind, partial: Sight, hidden: Sight | str) -> Control:
    """Whether an attack found what it must, in a sentence for the certificate.

    Args:
        label: the attack's.
        must_find: the plant that it is held to.
        partial: what it saw of the partial plant.
        hidden: what it saw of its hidden plant, or why that could not be planted; the attack is
            then held to the partial one, and the sentence says so.
    """
    if isinstance(hidden, str):
        beside = (
            f"A hidden one could not be planted ({hidden}), so it was not shown whether the "
            "attack brings back what is hidden."
        )
        return _verdict(label, partial, beside)
    required, other = (hidden, partial) if must_find == "hidden" else (partial, hidden)
    beside = (
        f"Of a {other.plant.kind} one ({other.planted}), which it is not held to, it sees "
        f"{other.residual}."
    )
    return _verdict(label, required, beside)


def _verdict(label: str, sight: Sight, beside: str) -> Control:
    planted = (
        f"a {sight.plant.kind} suppression planted in a copy of the original ({sight.planted})"
    )
    if sight.named:
        said = f"{label} finds {planted}: {sight.residual}."
    else:
        said = (
            f"{label} does not find {planted}: it sees {sight.residual}{sight.why_not}. Where it "
            "finds nothing in the unlearned model, that proves nothing."
        )
    return Control(found=sight.named, sentence=f"{said} {beside}")
