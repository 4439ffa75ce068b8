"""Checks on an audit itself, as the page lists them.

They are gates, self-checks and positive controls.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.certificate.schema import Certificate
from reports.messages import GATE_CHECKS, check_name, check_result, phrase
from reports.phrases import Phrase, fill, plain


@dataclass(frozen=True)
class AuditCheck:
    """A check on the audit itself.

    Attributes:
        name: what is checked.
        passed: None where it was not run.
        sentence: what it showed.
    """

    name: Phrase
    passed: bool | None
    sentence: Phrase


def audit_checks(certificate: Certificate) -> tuple[AuditCheck, ...]:
    """Return every check on the audit itself and whether it held."""
    return tuple(_checks(certificate))


def _checks(certificate: Certificate) -> Iterator[AuditCheck]:
    several = certificate.uncertainty.retrained_models > 1
    for row in certificate.matrix:
        for reading, gate in ((r, gate) for r in row.readings for gate in r.gates):
            if gate.name in GATE_CHECKS and (gate.name == "sensitivity" or several):
                checked, met = GATE_CHECKS[gate.name]
                by = ", by {metric}" if len(row.readings) > 1 else ""
                name = fill(
                    "{attack}" + by + ": {checked}",
                    attack=row.label,
                    metric=reading.metric,
                    checked=checked,
                )
                found = plain(met) if gate.message is None else phrase(gate.message)
                yield AuditCheck(name, gate.met, found)
    for check in certificate.self_checks:
        yield AuditCheck(check_name(check), check.passed, check_result(check))
    for control in certificate.positive_controls:
        name = fill("{attack}: finds its positive control", attack=control.attack)
        yield AuditCheck(name, control.found, phrase(control.message))
    if certificate.positive_controls_missing is not None:
        found = fill(
            "Not run: {reason}. No suppressed knowledge was given to the attacks to find.",
            reason=phrase(certificate.positive_controls_missing),
        )
        yield AuditCheck(plain("positive controls"), None, found)
