"""What became of an attack, and what a verdict means, in words."""

from dataclasses import dataclass
from typing import Literal

from auditor.certificate.schema import MatrixRow
from auditor.core.roles import Status
from reports.messages import sentence

Outcome = Literal["leak", "within", "undecided", "failed", "unavailable"]


@dataclass(frozen=True)
class Result:
    """The outcome of one attack.

    Attributes:
        outcome: for the mark and the colour.
        words: what the reader is told.
        why: sentences: a reason why there is no measurement, or what blocks a PASS.
    """

    outcome: Outcome
    words: str
    why: tuple[str, ...]


def result(row: MatrixRow) -> Result:
    """Returns the outcome of a row.

    Only a measured row with figures and gates, all met, is within the margin; whatever is not
    known to be so is undecided.
    """
    if row.status != Status.MEASURED:
        outcome: Outcome = "failed" if row.status == Status.FAILED else "unavailable"
        return Result(outcome, outcome, (reason(row),))
    why = tuple(
        sentence(gate.message) if gate.message else f"{gate.name}: not met"
        for gate in row.gates
        if not gate.met
    )
    over = "; over-forgotten" if row.over_forgotten else ""
    if row.named:
        return Result("leak", "leak found" + over, why)
    if row.figures is None:
        return Result("undecided", "undecided", ("no figures were recorded", *why))
    if row.gates and not why:
        return Result("within", "within margin" + over, why)
    return Result("undecided", "undecided" + over, why)


def reason(row: MatrixRow) -> str:
    """Returns why a row has no measurement."""
    return sentence(row.reason) if row.reason else "no reason was recorded"


HEADLINES = {
    "PASS": "Under these attacks, no more is brought back than from a model that never saw it.",
    "FAIL": "What was to be forgotten can be brought back.",
    "INCONCLUSIVE": "The evidence supports neither a pass nor a fail.",
    "NOT AUDITABLE": "There is nothing to measure: the original was not shown to know the facts.",
}

FLAGS = {
    "OVER-FORGOTTEN": (
        "The model knows measurably less than a model that never saw the data. "
        "That itself shows what was removed."
    ),
    "UTILITY LOST": (
        "The model lost knowledge that it was to keep. A broken model passes nothing."
    ),
    "WAIVED": (
        "Something that the policy demands was lifted. What was lifted, by whom and until when "
        "is listed on this page."
    ),
}

UNSAID = {
    "PASS": (
        "It does not say that the knowledge is gone. An attack that is not listed here, or a "
        "larger budget, may still bring it back."
    ),
    "FAIL": (
        "It does not say that everything is still there, nor that the attacks listed here find "
        "all that is."
    ),
    "INCONCLUSIVE": (
        "It does not say that the model is probably fine. Too little is known to say either."
    ),
    "NOT AUDITABLE": (
        "It does not say that anything was forgotten. It was not shown that there was anything "
        "to forget."
    ),
}
