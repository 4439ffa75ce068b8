"""Outcomes of attacks on positive controls.

They say what an attack finds of knowledge that was suppressed for it.
"""

from dataclasses import dataclass
from typing import Any

from auditor.core.messages import Message, message
from auditor.core.roles import ControlKind
from auditor.statistics import AttackAssessment, ControlOutcome
from auditor.statistics.betting import log_threshold
from auditor.statistics.readings import strongest


@dataclass(frozen=True)
class ControlMeasurement:
    """Measurement of an attack on a positive control.

    Attributes:
        kind: how much knowledge the control leaves to be seen.
        grid: name of the grid within whose cells its weights stayed, if any.
        left: share of the gap without attack that is left.
        rescaled: whether its weights were rescaled afterwards, its function unchanged.
        assessment: the attack's figures there.
        alpha: alpha of the policy.
    """

    kind: ControlKind
    grid: str | None
    left: float
    rescaled: bool
    assessment: AttackAssessment
    alpha: float

    @property
    def found(self) -> bool:
        """Whether the audit would name the attack on this control.

        It is judged as if the control were the unlearned model.

        The e-value must reach the audit's own threshold, over all its attacks.
        """
        found = self.assessment.log_e_fail
        return found is not None and found >= log_threshold(self.alpha, self.assessment.parts)

    @property
    def params(self) -> dict[str, Any]:
        """The control and the figures on it, as parameters of a message."""
        shown = strongest(self.assessment.readings)
        figures, seen = shown.figures, self.assessment.log_e_fail
        if seen is None and figures is not None:
            seen = figures.log_e_fail
        return {
            "kind": self.kind,
            "grid": self.grid,
            "left": self.left,
            **({"rescaled": True} if self.rescaled else {}),
            "reason": self.assessment.evidence.reason,
            "rho": figures.rho if figures else None,
            "rho_lower": figures.rho_lower if figures else None,
            "rho_upper": figures.rho_upper if figures else None,
            "tells_original_apart": self.assessment.counts,
            "log_e_fail": seen,
            "log_e_needed": log_threshold(self.alpha, self.assessment.parts),
        }


def control_outcome(
    attack: str,
    required: ControlKind,
    visible: ControlMeasurement,
    obfuscated: ControlMeasurement | Message,
) -> ControlOutcome:
    """Say whether an attack found what it must.

    Args:
        attack: its label.
        required: the kind of control that it is held to.
        visible: its measurement of the visible control.
        obfuscated: its measurement of the control in which nothing is left to be seen, or why
            there is none; the attack is then held to the visible one, and the message says so.
    """
    if isinstance(obfuscated, Message):
        held, other = visible, None
    elif required != "visible":
        held, other = obfuscated, visible
    else:
        held, other = visible, obfuscated
    return ControlOutcome(
        found=held.found,
        message=message(
            "positive_control_found" if held.found else "positive_control_missed",
            attack=attack,
            held_to=held.params,
            other=other.params if other else None,
            missing=obfuscated if isinstance(obfuscated, Message) else None,
        ),
    )
