"""Outcomes of attacks, as a reader is told them."""

from dataclasses import dataclass
from typing import Literal

from auditor.certificate.schema import MatrixRow
from auditor.core.roles import Status
from reports.messages import gate_name, phrase
from reports.phrases import Phrase, plain

Outcome = Literal["leak", "within", "undecided", "failed", "unavailable"]


@dataclass(frozen=True)
class Result:
    """Outcome of one attack.

    Attributes:
        outcome: outcome for the mark and the colour.
        words: what the reader is told.
        why: why there is no measurement, or what blocks a PASS.
    """

    outcome: Outcome
    words: str
    why: tuple[Phrase, ...]


def result(row: MatrixRow) -> Result:
    """Return the outcome of a row.

    Only a measured row with figures and gates by every metric, all met, is within the margin;
    whatever is not known to be so is undecided.
    """
    if row.status != Status.MEASURED:
        outcome: Outcome = "failed" if row.status == Status.FAILED else "unavailable"
        return Result(outcome, outcome, (reason(row),))
    why = tuple(
        phrase(gate.message) if gate.message else plain(f"{gate_name(gate.name)}: not met")
        for gate in row.gates
        if not gate.met
    )
    over = "; over-forgotten" if row.over_forgotten else ""
    if row.named:
        return Result("leak", "leak found" + over, why)
    if any(reading.figures is None for reading in row.readings):
        return Result("undecided", "undecided", (plain("no figures were recorded"), *why))
    if all(reading.gates for reading in row.readings) and not why:
        return Result("within", "within margin" + over, why)
    return Result("undecided", "undecided" + over, why)


def reason(row: MatrixRow) -> Phrase:
    """Return why a row has no measurement."""
    return phrase(row.reason) if row.reason else plain("no reason was recorded")
