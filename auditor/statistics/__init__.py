"""Evidence to verdict: pure functions of arrays, with no model in sight."""

from auditor.statistics.arms import Arms, Contrast, Scope
from auditor.statistics.assessment import AttackAssessment, AttackEvidence, ControlOutcome
from auditor.statistics.attack_weights import family_parts
from auditor.statistics.baselines import BaselineFinding, KnownSet, KnownSets, baseline_findings
from auditor.statistics.betting import (
    LAMBDA_GRID,
    log_e_value,
    mean_lower,
    residual_lower,
    residual_upper,
)
from auditor.statistics.figures import AttackFigures
from auditor.statistics.forget_quality import ForgetQuality, forget_quality
from auditor.statistics.gates import Gate, GateName
from auditor.statistics.holdout_blocks import LEAST_BLOCKS, holdout_blocks
from auditor.statistics.leak_count import LeakCount, count_leaks
from auditor.statistics.leak_rate import LeakRate, clopper_pearson_upper, leak_rate
from auditor.statistics.margins import Margins
from auditor.statistics.power import (
    FactsNeeded,
    facts_needed,
    facts_needed_as_observed,
    facts_needed_to_fail,
    power_at,
    zero_noise_bound,
)
from auditor.statistics.readings import AssessedReading, Reading
from auditor.statistics.roc import (
    Area,
    OperatingPoint,
    area_of_components,
    area_under_curve,
    clopper_pearson,
    nonmembers_needed,
    operating_point,
    placements,
)
from auditor.statistics.rules import FORMER, TODAY, Rules
from auditor.statistics.seeds import SeedSpread, SeedTrial, seed_spread, self_test
from auditor.statistics.utility import Utility, UtilityAssessment, UtilityState, assess_utility
from auditor.statistics.verdict import Decision, Flag, ResidualInterval, Verdict, decide

__all__ = [
    "FORMER",
    "LAMBDA_GRID",
    "LEAST_BLOCKS",
    "TODAY",
    "Area",
    "Arms",
    "AssessedReading",
    "AttackAssessment",
    "AttackEvidence",
    "AttackFigures",
    "BaselineFinding",
    "Contrast",
    "ControlOutcome",
    "Decision",
    "FactsNeeded",
    "Flag",
    "ForgetQuality",
    "Gate",
    "GateName",
    "KnownSet",
    "KnownSets",
    "LeakCount",
    "LeakRate",
    "Margins",
    "OperatingPoint",
    "Reading",
    "ResidualInterval",
    "Rules",
    "Scope",
    "SeedSpread",
    "SeedTrial",
    "Utility",
    "UtilityAssessment",
    "UtilityState",
    "Verdict",
    "area_of_components",
    "area_under_curve",
    "assess_utility",
    "baseline_findings",
    "clopper_pearson",
    "clopper_pearson_upper",
    "count_leaks",
    "decide",
    "facts_needed",
    "facts_needed_as_observed",
    "facts_needed_to_fail",
    "family_parts",
    "forget_quality",
    "holdout_blocks",
    "leak_rate",
    "log_e_value",
    "mean_lower",
    "nonmembers_needed",
    "operating_point",
    "placements",
    "power_at",
    "residual_lower",
    "residual_upper",
    "seed_spread",
    "self_test",
    "zero_noise_bound",
]
