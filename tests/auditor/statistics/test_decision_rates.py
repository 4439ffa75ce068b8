"""A fast slice of `benchmarks.decision_rates` and of `benchmarks.splice`."""

import pytest
from scipy.stats import binom

from benchmarks import decision_rates, splice
from benchmarks.false_certification import TOFU_LOGS

ALPHA = 0.05
REPS = 12


def at_most(share: float, reps: int) -> bool:
    """Whether a true rate of alpha could show this many in `reps` (1 in 1,000)."""
    return share * reps <= binom.ppf(0.999, reps, ALPHA)


@pytest.mark.parametrize("guessed", decision_rates.GUESSED)
@pytest.mark.parametrize(
    ("scope", "leak", "n", "truth"),
    [
        ("census", "sparse", 40, "at the margin"),
        ("census", "diffuse", 100, "at the margin"),
        ("sampled", "sparse", 40, "at the margin"),
        ("census", "sparse", 100, "hidden"),
    ],
)
def test_the_whole_decision_is_rarely_wrong(scope, leak, n, truth, guessed):
    row = decision_rates.cell(scope, leak, guessed, n, truth, REPS)
    assert at_most(decision_rates.wrong(row), REPS), row


@pytest.mark.parametrize("guessed", decision_rates.GUESSED)
def test_an_honest_model_is_rarely_said_to_leak_where_no_leak_is_allowed(guessed):
    row = decision_rates.cell("census", "diffuse", guessed, 100, "forgotten", REPS, leaked_facts=0)
    assert at_most(row.failed, REPS), row


def test_one_attack_of_its_own_family_is_found_with_fewer_facts_than_formerly():
    row = decision_rates.cell("census", "sparse", 0.0, 40, "hidden", 20)
    assert row.passed == 0.0
    assert row.failed >= row.failed_formerly + 0.1


def test_an_honest_model_passes_at_least_every_second_time_where_no_leak_is_allowed():
    """Noise makes some leak under one of seven attacks, and so it does of retrained models."""
    row = decision_rates.cell("census", "diffuse", 0.0, 400, "forgotten", 40, leaked_facts=0)
    assert row.passed >= 0.5
    assert row.failed <= 0.05


@pytest.fixture(scope="module")
def logs():
    if not TOFU_LOGS.is_dir():
        pytest.skip(f"the published TOFU logs are not at {TOFU_LOGS}")
    return splice.Logs()


def test_a_tenth_of_the_facts_put_back_is_forgotten_by_the_usual_test_and_never_certified(logs):
    row = splice.cell(logs, 40, 0.1, reps=30)
    assert row.ks_forgotten > 0.9
    assert row.passed == 0.0


def test_a_few_whole_facts_pass_by_the_usual_test_and_fail_where_none_may_leak(logs):
    row = splice.cell(logs, 300, 0.03, reps=20)
    assert row.ks_forgotten > 0.9
    assert (row.strict_passed, row.strict_failed) == (0.0, 1.0)


def test_a_clean_model_is_certified(logs):
    row = splice.cell(logs, 100, 0.0, reps=10)
    assert (row.passed, row.strict_passed) == (1.0, 1.0)
    assert splice.table([row]).count("\n") == 2


@pytest.mark.grid
@pytest.mark.timeout(7200)
def test_the_whole_grid():
    rows = list(decision_rates.grid(reps=100))
    print("\n".join(map(decision_rates.line, rows)))
    assert not [row for row in rows if not at_most(decision_rates.wrong(row), row.reps)]
