"""A row of the certificate's matrix: one attack at one level, on all arms."""

from dataclasses import asdict

import numpy as np

from auditor.certificate.judgement import deciding_probe
from auditor.certificate.row import (
    ByArm,
    CurvePart,
    ExplanationPart,
    FiguresPart,
    GatePart,
    MatrixRow,
    SideFigurePart,
)
from auditor.data.fact import SetName
from auditor.engine.audit import AuditOutcome, VariantOutcome
from auditor.statistics import AttackAssessment, AttackFigures


def matrix_row(
    outcome: AuditOutcome, variant: VariantOutcome, assessment: AttackAssessment
) -> MatrixRow:
    """The row of a variant: its figures, gates, means and explanation."""
    attack = variant.variant.attack
    explanation = variant.explanation
    return MatrixRow(
        attack=attack.name,
        variant=attack.variant,
        mandatory=assessment.mandatory,
        waived=False,
        reported=assessment.reported,
        status=assessment.status,
        reason=assessment.reason,
        probe=deciding_probe(outcome, variant),
        parameters=attack.parameters.model_dump(mode="json"),
        named=assessment.named,
        over_forgotten=assessment.over_forgotten,
        gates=tuple(
            GatePart(name=g.name, met=g.met, sentence=g.sentence) for g in assessment.gates
        ),
        figures=_figures(assessment.figures) if assessment.figures else None,
        forget=means_by_arm(outcome, variant, "forget"),
        retain=means_by_arm(outcome, variant, "retain"),
        holdout=means_by_arm(outcome, variant, "holdout"),
        explanation=ExplanationPart(
            measure=explanation.measure,
            overall=explanation.overall,
            layers=dict(explanation.layers),
        )
        if explanation
        else None,
        side_figures=tuple(SideFigurePart(**asdict(f)) for f in variant.side_figures),
        curves=tuple(CurvePart(**asdict(c)) for c in variant.curves),
        distribution=None,
        notes={arm: dict(notes) for arm, notes in variant.notes.items()},
        forward_tokens=variant.forward_tokens,
        jobs={arm: tuple(keys) for arm, keys in variant.jobs.items()},
    )


def _figures(figures: AttackFigures) -> FiguresPart:
    return FiguresPart(
        facts=figures.facts,
        units=figures.units,
        gap_mean=figures.gap_mean,
        gap_lower=figures.gap_lower,
        gap_required=figures.gap_required,
        rho=figures.rho,
        rho_lower=figures.rho_lower,
        rho_lower_shared=figures.rho_lower_shared,
        rho_upper=figures.rho_upper,
        log_e_pass=figures.log_e_pass,
        log_e_fail=figures.log_e_fail,
        log_e_over=figures.log_e_over,
        leaked=figures.leak.leaked,
        eligible=figures.leak.eligible,
        leak_rate=figures.leak.rate,
        leak_upper=figures.leak.upper,
    )


def means_by_arm(
    outcome: AuditOutcome, variant: VariantOutcome, set_name: SetName
) -> dict[str, ByArm]:
    """Probe to mean K by arm; a probe that read nothing is absent."""
    attack = variant.variant.attack
    means: dict[str, ByArm] = {}
    for probe in dict.fromkeys(
        (*outcome.prepared.plan.probes.all, deciding_probe(outcome, variant))
    ):
        for arm in variant.jobs:
            known = outcome.table.knowledge(attack.name, attack.variant, arm, set_name, probe)
            if known:
                means.setdefault(probe, {})[arm] = float(np.mean(list(known.values())))
    return means
