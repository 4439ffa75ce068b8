"""A row of the certificate's matrix: one attack at one level, on all arms."""

from dataclasses import asdict
from typing import Any

from auditor.certificate.case import Case, Trial
from auditor.certificate.decided import decided_row
from auditor.certificate.row import CurvePart, ExplanationPart, MatrixRow, SideFigurePart
from auditor.engine.account import Account
from auditor.engine.audit import VariantOutcome
from auditor.statistics import AttackAssessment


def matrix_row(
    case: Case, trial: Trial, assessment: AttackAssessment, outcome: VariantOutcome
) -> MatrixRow:
    """The row of a variant: its figures, gates, means and explanation."""
    return MatrixRow(
        attack=trial.attack,
        variant=trial.variant,
        metric=trial.metric,
        parameters=outcome.variant.attack.parameters.model_dump(mode="json"),
        forward_tokens=outcome.forward_tokens,
        jobs={arm: tuple(keys) for arm, keys in trial.jobs.items()},
        **told_row(outcome.account),
        **decided_row(case, trial, assessment),
    )


def told_row(account: Account) -> dict[str, Any]:
    """The fields of a row that the attack itself works out from its evidence."""
    explanation = account.explanation
    return {
        "explanation": ExplanationPart(
            measure=explanation.measure,
            overall=explanation.overall,
            layers=dict(explanation.layers),
        )
        if explanation
        else None,
        "side_figures": tuple(SideFigurePart(**asdict(f)) for f in account.side_figures),
        "curves": tuple(CurvePart.model_validate(asdict(c)) for c in account.curves),
        "notes": {arm: dict(notes) for arm, notes in account.notes.items()},
    }
