"""The parts of a certificate that follow from its case alone, and can be worked out again."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from auditor.certificate.case import Case, Trial
from auditor.certificate.distribution import distribution
from auditor.certificate.judgement import power
from auditor.certificate.row import FiguresPart, GatePart
from auditor.certificate.schema import (
    ForgetQualityPart,
    PolicyPart,
    UncertaintyPart,
    UtilityPart,
    VerdictPart,
    WaiverPart,
)
from auditor.policy import Policy
from auditor.statistics import (
    AttackAssessment,
    AttackFigures,
    Decision,
    Verdict,
    forget_quality,
)


def decided_verdict(case: Case, decision: Decision) -> VerdictPart:
    """The verdict, its claim and its reasons."""
    broken = [a for a in decision.attacks if a.status == "failed" and a.mandatory]
    flags = [flag.value for flag in decision.flags]
    if any(trial.waived for trial in case.trials):
        flags.append("WAIVED")
    return VerdictPart.model_validate(
        {
            "verdict": decision.verdict.value,
            "flags": tuple(flags),
            "claim": claim(case.policy, decision),
            "reasons": decision.reasons,
            "exit_code": {Verdict.PASS: 0, Verdict.FAIL: 1}.get(
                decision.verdict, 4 if broken else 3
            ),
        }
    )


def claim(policy: Policy, decision: Decision) -> str:
    """The one sentence that the certificate stands for."""
    under = "under the attacks listed here, at their budget,"
    margin = f"margin {policy.delta:g} at confidence {1 - policy.alpha:.0%}"
    return {
        Verdict.PASS: f"Under the mandatory attacks listed here, at their budget, the forget set "
        f"is no more extractable from the unlearned model than from a model that never saw it, "
        f"within {margin}.",
        Verdict.FAIL: f"The forget set is more extractable from the unlearned model than from a "
        f"model that never saw it: {under} residual knowledge exceeds the {margin}.",
        Verdict.INCONCLUSIVE: f"The evidence supports neither that the forget set is gone nor that "
        f"it is still there: {under} nothing could be concluded for the {margin}.",
        Verdict.NOT_AUDITABLE: "Nothing can be said about forgetting: the original model was not "
        "shown to know the forget set in the first place.",
    }[decision.verdict]


def decided_policy(case: Case) -> PolicyPart:
    """The rules, with the names of the attacks that each concerns."""
    policy, trials = case.policy, case.trials
    return PolicyPart(
        name=policy.name,
        delta=policy.delta,
        alpha=policy.alpha,
        minimum_gap=policy.minimum_gap,
        leak_limit=policy.leak_limit,
        utility_margin=policy.utility_margin,
        mandatory=tuple(t.label for t in trials if t.mandatory),
        advisory=tuple(t.label for t in trials if not t.mandatory and not t.reported),
        reported=tuple(t.label for t in trials if t.reported),
        budgets=policy.budgets,
        minimum_facts=policy.minimum_facts,
        minimum_retrained=policy.minimum_retrained,
        valid_days=policy.valid_days,
        waivers=tuple(
            WaiverPart(attack=w.attack, reason=w.reason, by=w.by, until=w.until.isoformat())
            for w in policy.waivers
        ),
    )


def decided_utility(decision: Decision) -> UtilityPart:
    """What became of the retain set."""
    utility = decision.utility
    if utility is None:
        return UtilityPart(
            state="not measured",
            sentence="There is no measurement of the retain set.",
            facts=0,
            mean_unlearned=None,
            mean_original=None,
            log_e_kept=None,
            log_e_lost=None,
        )
    means = (
        f"mean knowledge of the retain set is {utility.mean_unlearned:.3f}, against "
        f"{utility.mean_original:.3f} in the original"
    )
    said = {
        "kept": f"Utility is kept: {means}.",
        "lost": f"Utility is lost: {means}.",
        "undetermined": f"Utility was shown neither kept nor lost: {means}.",
    }
    return UtilityPart(
        state=utility.state,
        sentence=said[utility.state],
        facts=utility.facts,
        mean_unlearned=utility.mean_unlearned,
        mean_original=utility.mean_original,
        log_e_kept=utility.log_e_kept,
        log_e_lost=utility.log_e_lost,
    )


def decided_uncertainty(case: Case, decision: Decision) -> UncertaintyPart:
    """What the figures leave open."""
    undecided = decision.verdict is Verdict.INCONCLUSIVE
    needed = decision.facts_needed if undecided else power(case)
    known = case.means(case.as_is, "forget").get(case.metrics[0], {})
    spread = [known[arm] for arm in case.retrained if arm in known]
    return UncertaintyPart(
        residual_lower=decision.residual.lower,
        residual_upper=decision.residual.upper,
        residual_complete=decision.residual.complete,
        log_e_fail=decision.log_e_fail,
        fail_threshold=decision.fail_threshold,
        facts_available=len(case.sets["forget"]),
        facts_needed=needed.needed if needed else None,
        facts_needed_basis=needed.basis if needed else None,
        retrained_models=len(case.retrained),
        retrained_spread=float(np.std(spread, ddof=1)) if len(spread) > 1 else None,
        forget_quality=tuple(_forget_quality(case)),
    )


def _forget_quality(case: Case) -> Iterator[ForgetQualityPart]:
    """KS on the truth ratio where it was measured, as TOFU defines it; else nothing."""
    trial = case.as_is
    known = {
        arm: case.table.knowledge(trial.attack, trial.variant, arm, "forget", "truth-ratio")
        for arm in trial.jobs
    }
    for arm in case.retrained:
        if known.get(arm) and known.get("unlearned"):
            shared = sorted(known["unlearned"].keys() & known[arm].keys())
            result = forget_quality(
                np.array([known["unlearned"][f] for f in shared]),
                np.array([known[arm][f] for f in shared]),
            )
            yield ForgetQualityPart(
                baseline=arm, p_value=result.p_value, statistic=result.statistic
            )


def decided_row(case: Case, trial: Trial, assessment: AttackAssessment) -> dict[str, Any]:
    """The fields of a row that follow from the evidence and the policy alone."""
    return {
        "mandatory": assessment.mandatory,
        "waived": trial.waived,
        "reported": assessment.reported,
        "status": assessment.status,
        "reason": assessment.reason,
        "named": assessment.named,
        "over_forgotten": assessment.over_forgotten,
        "gates": tuple(
            GatePart(name=g.name, met=g.met, sentence=g.sentence) for g in assessment.gates
        ),
        "figures": _figures(assessment.figures) if assessment.figures else None,
        "forget": case.means(trial, "forget"),
        "retain": case.means(trial, "retain"),
        "holdout": case.means(trial, "holdout"),
        "distribution": distribution(case, trial),
    }


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
