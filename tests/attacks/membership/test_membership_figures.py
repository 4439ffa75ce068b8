"""What stands beside K: the blind baseline, AUC, thresholds and PrivLeak."""

import json

import numpy as np
import pytest

from attacks.membership.blind_baseline import blind_baseline, blind_check
from attacks.membership.family import Scores
from attacks.membership.likelihood import Likelihood, LikelihoodParameters
from attacks.membership.scored_texts import ScoredTexts
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import canonical_json
from auditor.statistics import area_under_curve
from auditor.testbeds.people import corpus

ATTACK = Likelihood(LikelihoodParameters())


def fact(name, subject, prompt, answer="yes"):
    return Fact(id=name, entity=subject, prompt=prompt, answer=answer)


def blind(forget, holdout):
    sets = FactSets(forget=tuple(forget), holdout=tuple(holdout))
    return blind_baseline(sets, ScoredTexts(sets, "answer"))


def test_sets_drawn_alike_are_not_told_apart():
    """People drawn at random: over 20 worlds hardly ever (2 by chance alone are not rare)."""
    passed = 0
    for seed in range(20):
        people = corpus.generate(12, 1, 12, seed, 2)
        passed += blind_check(blind(people.forget, people.holdout)).passed
    assert passed >= 18


def test_sets_that_differ_are_found_and_said_to_confound():
    people = corpus.generate(10, 1, 10, 0, 2)
    newer = [f.model_copy(update={"prompt": f"In 2031: {f.prompt}"}) for f in people.holdout]
    found = blind(people.forget, newer)
    assert found["value"] > 0.95
    check = blind_check(found)
    assert (check.code, check.passed) == ("sets_alike_without_model", False)
    assert check.params["auc"] == found["value"]


def test_a_subjects_own_words_do_not_count_as_telling_apart():
    """Names that recur within a subject alone: subjects are kept together, so they are no use."""
    forget = [fact(f"f{i}", f"f{i // 8}", f"name{i // 8} what of it") for i in range(64)]
    holdout = [fact(f"h{i}", f"h{i // 8}", f"other{i // 8} what of it") for i in range(64)]
    assert blind_check(blind(forget, holdout)).passed


def test_a_baseline_that_cannot_be_run_is_no_pass():
    found = blind(
        [fact(f"f{i}", "one", f"q {i}") for i in range(10)],
        [fact(f"h{i}", f"h{i}", f"q {i}") for i in range(10)],
    )
    check = blind_check(found)
    assert not check.passed
    assert check.quoted == ("error",)
    assert check.params["error"] == found["absent"]


def test_the_checks_of_all_arms_are_one():
    notes = {"blind": {"value": 0.52, "lower": 0.4, "upper": 0.64}}
    (check,) = ATTACK.self_checks({"unlearned": notes, "original": notes})
    assert check.passed
    assert check.params == {"by": "bag_of_words", "auc": 0.52, "lower": 0.4, "upper": 0.64}


def remarks(figure):
    """Code to parameters of what is remarked; of several with one code the last."""
    return {remark.code: remark.params for remark in figure.remarks}


def noted(scores):
    forget = [fact(f"f{i}", f"f{i}", "q") for i in range(len(scores[0].forget))]
    holdout = [fact(f"h{i}", f"h{i}", "q") for i in range(len(scores[0].holdout))]
    return ATTACK.record(forget, holdout, scores, {"blind": {}}).notes


def test_every_arm_has_its_area_and_the_missing_figures_are_said():
    rng = np.random.default_rng(0)
    notes = {
        arm: noted([Scores(rng.normal(shift, 1, 40), rng.normal(0, 1, 60))])
        for arm, shift in (("unlearned", 0.5), ("original", 9.0), ("retrained-0", 0.0))
    }
    figures = {(f.name, f.of, f.against): f for f in ATTACK.side_figures(notes)}
    assert set(figures) == {
        ("auc", "unlearned", None),
        ("auc", "original", None),
        ("auc", "retrained-0", None),
        ("privleak", "unlearned", "retrained-0"),
    }
    unlearned = figures["auc", "unlearned", None]
    assert unlearned.lower < unlearned.value < unlearned.upper
    missing = [r.params for r in unlearned.remarks if r.code == "no_tpr_with_few_holdout_facts"]
    assert [params["needed"] for params in missing] == [598, 5990]
    assert "no_interval_without_variance" in remarks(figures["auc", "original", None])
    a_u, a_r = 1 - unlearned.value, 1 - figures["auc", "retrained-0", None].value
    leak = figures["privleak", "unlearned", "retrained-0"]
    assert leak.value == pytest.approx(100 * (a_u - a_r) / a_r)


def test_a_retrained_model_that_knows_the_facts_has_no_privleak():
    rng = np.random.default_rng(0)
    notes = {
        arm: noted([Scores(rng.normal(9, 1, 40), rng.normal(0, 1, 60))])
        for arm in ("unlearned", "retrained-0")
    }
    figures = ATTACK.side_figures(notes)
    assert {f.name for f in figures} == {"auc"}
    assert remarks(figures[0])["no_privleak"]["arm"] == "retrained-0"


def test_a_large_holdout_gives_a_rate_at_one_percent():
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(2, 1, 80), rng.normal(0, 1, 600))
    figures = {f.name: f for f in ATTACK.side_figures({"unlearned": noted([scores])})}
    point = figures["tpr_at_fpr"]
    threshold = scores.holdout[::2].max()  # 300 calibrate, and none of them may lie above
    assert point.value == pytest.approx((scores.forget > threshold).mean())
    assert point.lower < point.value < point.upper
    assert point.params == {"fpr": 0.01}
    rests_on = remarks(point)["threshold_from_holdout"]
    assert rests_on["false_positives"] == (scores.holdout[1::2] > threshold).sum()
    assert rests_on["checked"] == 300
    assert remarks(figures["auc"])["no_tpr_with_few_holdout_facts"]["fpr"] == 0.001
    several = noted([scores, scores])
    assert several["operating_points"] == []
    assert "no_tpr_of_several_scores" in remarks(ATTACK.side_figures({"unlearned": several})[0])


def below(curve):
    return np.trapezoid([y for _, y in curve.points], [x for x, _ in curve.points])


@pytest.mark.parametrize("size", [40, 4000])
def test_a_roc_curve_has_the_area_of_the_side_figure(size):
    """Exactly where all its corners are drawn, otherwise within half of what they span."""
    rng = np.random.default_rng(0)
    notes = {
        arm: noted([Scores(rng.normal(shift, 1, size), rng.normal(0, 1, size + 10))])
        for arm, shift in (("unlearned", 0.5), ("original", 2.0), ("retrained-0", 0.0))
    }
    areas = {f.of: f.value for f in ATTACK.side_figures(notes) if f.name == "auc"}
    curves = ATTACK.curves(json.loads(canonical_json(notes)))
    assert {curve.of for curve in curves} == set(notes)
    for curve in curves:
        steps = np.diff(curve.points, axis=0)
        assert len(curve.points) <= 101
        assert (steps >= 0).all()
        thinned = len(curve.points) < notes[curve.of]["roc_corners"]
        assert thinned == (size == 4000) == ("corners_drawn" in remarks(curve))
        within = steps.prod(axis=1).sum() / 2 if thinned else 0
        assert abs(below(curve) - areas[curve.of]) <= within + 1e-12


def test_a_curve_says_what_it_rests_on():
    (curve,) = ATTACK.curves({"unlearned": noted([Scores(np.array([2.0, 1.0]), np.arange(4.0))])})
    assert (curve.name, curve.x, curve.y) == ("roc", "false_positive_rate", "true_positive_rate")
    assert curve.points == ((0, 0), (0.25, 0), (0.75, 1), (1, 1))  # two ties, one straight line
    assert remarks(curve) == {"roc_rests_on": {"members": 2, "holdout": 4}}


def test_the_curve_of_several_scorings_has_their_mean_area():
    rng = np.random.default_rng(0)
    scorings = [Scores(rng.integers(0, 9, 30) + 1.0, rng.integers(0, 9, 20)) for _ in range(3)]
    found = noted(scorings)
    (curve,) = ATTACK.curves({"unlearned": found})
    assert len(curve.points) == found["roc_corners"]
    assert below(curve) == pytest.approx(found["auc"]["value"], abs=1e-12)
    assert remarks(curve)["mean_of_curves"] == {"curves": 3}


def test_what_noted_no_scores_has_no_curve():
    assert ATTACK.curves({"comparison": {"not_explained": "MeasurementError"}}) == ()


def test_the_area_of_averaged_placements_is_the_average_area():
    rng = np.random.default_rng(0)
    scorings = [Scores(rng.normal(0.5, 1, 30), rng.normal(0, 1, 50)) for _ in range(3)]
    areas = [area_under_curve(*scores).value for scores in scorings]
    assert noted(scorings)["auc"]["value"] == pytest.approx(np.mean(areas))
