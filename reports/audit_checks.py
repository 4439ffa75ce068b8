"""Checks on an audit itself, as the page lists them: gates, self-checks, positive controls."""

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.certificate.schema import Certificate
from reports.messages import check_name, check_sentence, sentence

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
"""Gate to what it checks of the audit, and what is said where it is met."""


@dataclass(frozen=True)
class AuditCheck:
    """A check on the audit itself.

    Attributes:
        name: what is checked.
        passed: None where it was not run.
        sentence: what it showed.
    """

    name: str
    passed: bool | None
    sentence: str


def audit_checks(certificate: Certificate) -> tuple[AuditCheck, ...]:
    """Return everything that was checked on the audit itself, and whether it held."""
    return tuple(_checks(certificate))


def _checks(certificate: Certificate) -> Iterator[AuditCheck]:
    several = certificate.uncertainty.retrained_models > 1
    for row in certificate.matrix:
        for gate in row.gates:
            if gate.name in _GATES and (gate.name == "sensitivity" or several):
                name, met = _GATES[gate.name]
                said = met if gate.message is None else sentence(gate.message)
                yield AuditCheck(f"{row.label}: {name}", gate.met, said)
    for check in certificate.self_checks:
        yield AuditCheck(check_name(check), check.passed, check_sentence(check))
    for control in certificate.positive_controls:
        name = f"{control.attack}: finds its positive control"
        yield AuditCheck(name, control.found, sentence(control.message))
    if certificate.positive_controls_missing is not None:
        why = sentence(certificate.positive_controls_missing)
        said = f"Not run: {why}. No suppressed knowledge was given to the attacks to find."
        yield AuditCheck("positive controls", None, said)
