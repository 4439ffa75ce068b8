"""The checks on an audit itself: its controls."""

from collections.abc import Iterator, Mapping

from auditor.certificate.schema import ControlPart
from auditor.engine.audit import AuditOutcome
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


def control_parts(
    outcome: AuditOutcome,
    decision: Decision,
    planted: Mapping[str, Control] | None,
    not_planted: str | None = None,
) -> Iterator[ControlPart]:
    """Everything that was checked on the audit itself, and whether it held.

    Args:
        outcome: what the engine gathered.
        decision: its verdict.
        planted: label of a mandatory variant to what it made of the suppression planted for it;
            None where nothing was planted.
        not_planted: why nothing was planted; None where it was not asked for.
    """
    for attack in decision.attacks:
        for gate in attack.gates:
            if gate.name in _GATES and (gate.name == "sensitivity" or (decision.seeds or 0) > 1):
                name, met = _GATES[gate.name]
                yield ControlPart(
                    name=f"{attack.name}: {name}", passed=gate.met, sentence=gate.sentence or met
                )
    seen = set()
    for variant in outcome.variants:
        for control in variant.controls:
            if control not in seen:  # variants of one attack check the same texts
                seen.add(control)
                yield ControlPart(
                    name=control.name, passed=control.passed, sentence=control.sentence
                )
    if planted is None:
        yield ControlPart(
            name="planted suppression",
            passed=None,
            sentence=f"Not run: {not_planted or 'the plan does not ask for it'}. No shallow "
            "suppression was planted for the attacks to find.",
        )
        return
    for label, found in planted.items():
        yield ControlPart(
            name=f"{label}: finds a planted suppression",
            passed=found.found,
            sentence=found.sentence,
        )
