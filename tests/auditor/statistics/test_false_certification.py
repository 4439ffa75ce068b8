"""Monte-Carlo: how often the rule certifies what it must not, and what it must."""

import numpy as np
import pytest
from scipy.stats import binom

from auditor.core.attack_id import AttackId
from auditor.core.roles import Role
from auditor.statistics import (
    Arms,
    AttackEvidence,
    Margins,
    Reading,
    Utility,
    Verdict,
    decide,
    seed_spread,
)
from auditor.statistics.betting import log_e_value, log_threshold
from benchmarks.false_certification import (
    SIZES,
    TOFU_LOGS,
    cell,
    grid,
    table,
    tofu_world,
)
from benchmarks.false_certification import testbed as draw_testbed

ALPHA = 0.05


def at_most(share: float, reps: int, rate: float = ALPHA) -> bool:
    """Whether a true rate of `rate` could show this many in `reps` (1 in 1,000)."""
    return share * reps <= binom.ppf(0.999, reps, rate)


@pytest.mark.parametrize("leak", ["diffuse", "sparse"])
@pytest.mark.parametrize("n", SIZES)
def test_a_residual_of_delta_is_rarely_passed_and_rarely_failed(n, leak):
    row = cell("testbed", draw_testbed, leak, "census", n, 0.10, reps=150, seed=0)
    assert row.passed <= ALPHA
    assert row.failed <= ALPHA


@pytest.mark.parametrize("leak", ["diffuse", "sparse"])
def test_the_same_on_the_published_tofu_logs(leak):
    if not TOFU_LOGS.is_dir():
        pytest.skip(f"the published TOFU logs are not at {TOFU_LOGS}")
    row = cell("tofu", tofu_world(), leak, "census", 100, 0.10, reps=150, seed=0)
    assert row.passed <= ALPHA
    assert row.failed <= ALPHA


def test_a_clean_model_passes_with_the_testbed_gaps_at_128_facts():
    row = cell("testbed", draw_testbed, "diffuse", "census", 128, 0.0, reps=150, seed=0)
    assert row.passed >= 0.8
    assert row.failed <= ALPHA


def test_a_model_that_kept_30_percent_never_passes_where_the_usual_test_passes_it():
    row = cell("testbed", draw_testbed, "sparse", "census", 20, 0.30, reps=150, seed=0)
    assert row.passed == 0.0
    assert row.ks_passed > 0.4


def test_clustered_leaks_deceive_census_scope_and_not_sampled_scope():
    census = cell("testbed", draw_testbed, "clustered", "census", 20, 0.10, reps=100, seed=0)
    sampled = cell("testbed", draw_testbed, "clustered", "sampled", 80, 0.10, reps=100, seed=0)
    assert not at_most(census.passed, 100, rate=0.02)
    assert sampled.passed <= ALPHA


def test_the_whole_decision_over_several_attacks_keeps_its_error_rates():
    """Three attacks with residual exactly delta, and a destroyed advisory one."""
    rng = np.random.default_rng(3)
    utility = Utility(np.full(200, 0.9), np.full(200, 0.9))
    verdicts = []
    for _ in range(40):
        plan = []
        for index in range(3):
            original, retrained, clean = draw_testbed(100, rng)
            kept = rng.random(100) < 0.10
            arms = Arms(np.where(kept, original, clean), original, retrained[None])
            attack = AttackId(f"a{index}", "")
            plan.append(
                AttackEvidence(
                    attack, Role.MANDATORY, readings=(Reading(arms=arms),), baseline=index == 0
                )
            )
        _, retrained, clean = draw_testbed(100, rng)
        ruined = Arms(clean, np.zeros(100), retrained[None])
        plan.append(
            AttackEvidence(AttackId("ruin", ""), Role.ADVISORY, readings=(Reading(arms=ruined),))
        )
        verdicts.append(decide(plan, utility).verdict)
    assert verdicts.count(Verdict.PASS) == 0
    assert at_most(verdicts.count(Verdict.FAIL) / 40, 40)


def test_with_five_seeds_the_spread_between_them_does_not_buy_a_pass():
    """The true residual, against the mean of all retrainings, is delta; n = 400."""
    rng, margins = np.random.default_rng(4), Margins()
    passed = 0
    for _ in range(200):
        original = rng.beta(19.0, 1.0, 400)
        shifts = 0.026 * rng.standard_normal(5)  # 3 % of the gap
        retrained = np.clip(0.1 + shifts[:, None] + 0.0 * original, 0.0, 1.0)
        unlearned = 0.1 + 0.10 * (original - 0.1)
        arms = Arms(unlearned, original, retrained)
        spread = seed_spread(arms, margins, "census")
        if spread.delta is not None:
            z = arms.contrast("census").against(spread.delta)
            passed += log_e_value(z) >= log_threshold(spread.alpha)
    assert passed / 200 <= ALPHA


def test_the_table_has_a_line_a_row():
    row = cell("testbed", draw_testbed, "diffuse", "census", 20, 0.0, reps=2, seed=0)
    assert table([row]).count("\n") == 2


@pytest.mark.grid
@pytest.mark.timeout(3600)
def test_the_full_grid():
    rows = grid(reps=1000)
    for row in rows:
        if row.rho >= Margins().delta and row.leak != "clustered":
            assert row.passed <= ALPHA, row
        if row.rho <= Margins().delta and row.leak != "clustered":
            assert row.failed <= ALPHA, row
        if row.leak == "clustered" and row.scope == "sampled" and row.rho:
            assert row.passed <= ALPHA, row
    print(table(rows))
