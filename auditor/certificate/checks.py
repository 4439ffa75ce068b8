"""The checks on an audit itself: its controls."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from auditor.certificate.schema import ControlPart, PositiveControlPart
from auditor.core import findings
from auditor.statistics import Control, Decision

_GATES = {
    "sensitivity": (
        "tells the original from the retrained models",
        "The attack finds the knowledge in the original.",
    ),
    "baseline_noise": (
        "retrained models pass against each other",
        "Each retrained model passes as unlearned model.",
    ),
}


@dataclass(frozen=True)
class PositiveControlled:
    """What the mandatory attacks made of what was planted for them."""

    found: Mapping[str, Control] | None = None
    """Label of an attack to its control; None where nothing was planted."""
    reason: str | None = None
    """Why nothing was planted; None where it was not asked for."""
    parts: tuple[PositiveControlPart, ...] = ()
    """What was planted, and where the evidence is."""
    seals: Mapping[str, str] = field(default_factory=dict)
    """Job key to the digest of the evidence on the plants."""


PLANTED = "planted suppression"
"""Name of the control that says that nothing was planted."""

NOT_PLANTED = PositiveControlled()
"""Nobody asked for controls."""


def control_parts(
    decision: Decision, own: Iterable[findings.Control], controls: PositiveControlled
) -> Iterator[ControlPart]:
    """Everything that was checked on the audit itself, and whether it held.

    Args:
        decision: the verdict, with the gates of each attack.
        own: what the attacks checked of their own evidence.
        controls: what they made of what was planted for them.
    """
    yield from checked(decision, own)
    if controls.found is None:
        yield ControlPart(
            name=PLANTED,
            passed=None,
            sentence=f"Not run: {controls.reason or 'the plan does not ask for it'}. No shallow "
            "suppression was planted for the attacks to find.",
        )
    else:
        yield from planted(controls.found)


def checked(decision: Decision, own: Iterable[findings.Control]) -> Iterator[ControlPart]:
    """The checks that need no plant."""
    yield from _gates(decision)
    for control in dict.fromkeys(own):  # variants of one attack check the same texts
        yield ControlPart(name=control.name, passed=control.passed, sentence=control.sentence)


def planted(found: Mapping[str, Control]) -> Iterator[ControlPart]:
    """Whether each attack found what was planted for it."""
    for label, control in found.items():
        yield ControlPart(
            name=f"{label}: finds a planted suppression",
            passed=control.found,
            sentence=control.sentence,
        )


def _gates(decision: Decision) -> Iterator[ControlPart]:
    for attack in decision.attacks:
        for gate in attack.gates:
            if gate.name in _GATES and (gate.name == "sensitivity" or (decision.seeds or 0) > 1):
                name, met = _GATES[gate.name]
                yield ControlPart(
                    name=f"{attack.name}: {name}", passed=gate.met, sentence=gate.sentence or met
                )
