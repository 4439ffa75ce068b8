import numpy as np
import pytest

from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.facts import Fact
from auditor.core.messages import message
from auditor.core.roles import Role
from auditor.statistics import Arms, AttackEvidence, Margins, Reading, Verdict
from auditor.statistics.arms import PAIRINGS, Null
from auditor.statistics.betting import log_e_value, mean_lower, residual_lower, residual_upper
from auditor.statistics.blind import blind_area, sets_told_apart
from auditor.statistics.leak_count import count_leaks, leaks_to_fail
from auditor.statistics.utility import Utility
from auditor.statistics.verdict import decide
from benchmarks.baseline_rates import CASES, cell

N = 60
ENTITIES = tuple(f"e{i // 4}" for i in range(N))
FORMS = tuple("ab"[i % 2] for i in range(N))
KEPT = Utility(np.full(400, 0.9), np.full(400, 0.9))


def arms(unlearned, null=0.02, original=0.95, m=N, *, paired=False, level=0.02, advantage=None):
    """Arms whose null is at `null`, with a little noise of every K."""
    noise = np.random.default_rng(1).uniform(-0.01, 0.01, (4, max(m, N)))
    beside = Null(
        np.clip(np.full(m, null) + noise[0, :m], 0, 1),
        np.clip(np.full(m, 0.02) + noise[1, :m], 0, 1),
        tuple(f"n{i // 4}" for i in range(m)),
        paired,
        FORMS,
        tuple("ab"[i % 2] for i in range(m)),
        level,
        advantage,
    )
    k = np.clip(np.broadcast_to(unlearned, N) + noise[2, :N], 0, 1)
    known = np.clip(np.full(N, original) + noise[3, :N], 0, 1)
    return Arms(k, known, np.empty((0, N)), ENTITIES, null=beside)


def verdict_on(found, baseline=Baseline.NEVER_SEEN_FACTS, unsound=(), scope="census"):
    as_is = AttackId("none/as-is", "full precision")
    evidence = AttackEvidence(as_is, Role.MANDATORY, (Reading("k", found),), baseline=True)
    return decide([evidence], KEPT, Margins(), scope, baseline=baseline, unsound=unsound)


def codes(decision):
    return {reason.code for reason in decision.reasons}


@pytest.mark.parametrize("m", [40, 60, 200])
def test_every_fact_is_paired_once_within_its_form(m):
    null = arms(0.02, m=m).null
    pairings = list(null.pairings())
    assert len(pairings) == PAIRINGS
    for ours, theirs in pairings:
        assert len(set(ours.tolist())) == len(ours) == min(N, m)
        assert len(set(theirs.tolist())) == len(theirs)
        assert all(FORMS[f] == null.null_forms[c] for f, c in zip(ours, theirs, strict=True))
    assert len({tuple(ours.tolist()) for ours, _ in pairings}) > 1


def test_a_fact_with_exchanged_answer_stands_beside_its_own():
    ((ours, theirs),) = arms(0.02, paired=True).null.pairings()
    assert ours.tolist() == theirs.tolist() == list(range(N))


def test_an_e_value_over_pairings_is_the_mean_of_theirs():
    rows = np.random.default_rng(0).uniform(-1, 1, (7, 50))
    each = [log_e_value(row) for row in rows]
    assert log_e_value(rows) == pytest.approx(np.log(np.mean(np.exp(each))))
    one = rows[:1]
    assert mean_lower(one, 0.05) == mean_lower(one[0], 0.05)


def test_bounds_with_baselines_apart_agree_with_the_test_at_their_value():
    rng = np.random.default_rng(2)
    d, g = rng.uniform(-0.2, 0.5, (3, 80)), rng.uniform(0.5, 1.0, (3, 80))
    upper = residual_upper(d, g, 0.05, apart=True)
    lower = residual_lower(d, g, 0.05, apart=True)
    assert 0 < lower < d.mean() / g.mean() < upper < 1

    def excluded(r, sign):
        return log_e_value(sign * (d - r * g) / (1 + r)) >= np.log(20)

    assert [excluded(upper + step, 1) for step in (1e-4, -1e-4)] == [True, False]
    assert [excluded(lower + step, -1) for step in (-1e-4, 1e-4)] == [True, False]


@pytest.mark.parametrize("scope", ["census", "sampled"])
@pytest.mark.parametrize("baseline", [Baseline.NEVER_SEEN_FACTS, Baseline.OWN_NULL])
def test_verdicts_follow_what_is_known_beyond_the_null(baseline, scope):
    own = baseline is Baseline.OWN_NULL
    more = {"paired": own, "advantage": 0.0 if own else None}
    wanted = {0.02: Verdict.PASS, 0.9: Verdict.FAIL}
    if scope == "sampled":  # fifteen entities show no residual of 0.1
        wanted[0.02] = Verdict.INCONCLUSIVE
    for k, expected in wanted.items():
        decision = verdict_on(arms(k, **more), baseline, scope=scope)
        assert decision.verdict is expected
        assert decision.baseline is baseline


def test_a_model_that_knows_its_null_does_not_pass():
    hidden = verdict_on(arms(0.4, null=0.4))
    assert hidden.verdict is Verdict.INCONCLUSIVE
    assert "null_raised" in codes(hidden)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (arms(0.9, paired=True), "null_not_checked"),
        (arms(0.9, paired=True, advantage=0.2), "null_easier_to_guess"),
        (arms(0.9, advantage=0.2), "null_easier_to_guess"),
        (arms(0.9, m=16), "null_too_small"),
    ],
)
def test_a_null_that_is_none_decides_nothing(found, code):
    decision = verdict_on(found)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert code in codes(decision)


@pytest.mark.parametrize("k", [0.02, 0.9])
def test_what_keeps_a_baseline_from_one_keeps_from_both_verdicts(k):
    said = message("sets_told_apart", auc=0.9, lower=0.8)
    decision = verdict_on(arms(k), unsound=[said])
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert said in decision.reasons


def test_leaks_are_held_against_facts_that_stand_out_among_the_unknown():
    k = np.full(N, 0.02)
    k[:12] = 0.95
    alone = count_leaks(arms(k), Margins(leaked_facts=0))
    assert (alone.leaked, alone.allowed, alone.noise) == (12, 0, 0)
    assert alone.shown_above(0.01)
    found = arms(k)
    raised = found.null.unlearned.copy()
    raised[:12] = 0.95
    noisy = Arms(
        found.unlearned,
        found.original,
        found.retrained,
        ENTITIES,
        null=Null(raised, found.null.original, ENTITIES, False, FORMS, FORMS),
    )
    among = count_leaks(noisy, Margins(leaked_facts=0))
    assert among.noise == 12
    assert not among.shown_above(0.01)
    assert leaks_to_fail(noisy, Margins(leaked_facts=0), 0.01) > 12
    assert 0 < leaks_to_fail(arms(np.full(N, 0.02)), Margins(leaked_facts=0), 0.01) <= 10


def worded(words, start):
    return [
        Fact(id=f"{i}", entity=f"p{i // 4}", prompt=f"p{i // 4} {words[i % 3]}", answer=f"{i % 7}")
        for i in range(start, start + 60)
    ]


def test_words_alone_tell_sets_of_other_kinds_apart():
    usual, other = ("was born in", "works as", "owns"), ("place of birth:", "job:", "property:")
    assert sets_told_apart(worded(usual, 0), worded(usual, 900)) is None
    found = sets_told_apart(worded(usual, 0), worded(other, 900))
    assert found.code == "sets_told_apart"
    assert found.params["auc"] > 0.9
    few = worded(usual, 0)[:8], worded(usual, 900)
    assert blind_area(*few) is None
    assert sets_told_apart(*few).params == {"entities": 2, "needed": 5}


@pytest.mark.parametrize(("baseline", "state"), CASES)
def test_no_verdict_is_wrong_in_a_few_simulated_audits(baseline, state):
    for truth in ("forgotten", "at the margin", "hidden"):
        assert cell(baseline, state, 0.3, 40, truth, reps=2).wrong == 0


def test_the_gap_leaves_out_what_anybody_guesses():
    rng = np.random.default_rng(5)
    guessed = rng.uniform(0.2, 0.4, N)
    known = np.full(N, 0.95)
    left = guessed + 0.5 * (known - guessed)
    null = Null(guessed, np.full(N, 0.005), ENTITIES, True, FORMS, FORMS, 0.3, 0.0)
    contrast = Arms(left, known, np.empty((0, N)), ENTITIES, null=null).contrast("census")
    assert contrast.d.mean() / contrast.g.mean() == pytest.approx(0.5)
    assert not contrast.apart
