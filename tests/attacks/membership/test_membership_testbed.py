"""Membership on the default world: what it finds, and that it clears an honest model."""

import numpy as np
import pytest

LIKELIHOOD = (
    "membership/likelihood",
    {"score": ["loss", "min-k", "min-k++", "recall", "reference"]},
)
OTHERS = (("membership/gradient-norm", {}), ("membership/neighbourhood", {"neighbours": 10}))
BASELINES = ("retrained-0", "retrained-1")
CASES = [
    pytest.param(*LIKELIHOOD, id="likelihood"),
    *(pytest.param(*case, id=case[0], marks=pytest.mark.nightly) for case in OTHERS),
]


@pytest.mark.parametrize(("attack", "parameters"), CASES)
def test_the_original_stands_out_and_a_held_back_retrained_model_does_not(
    attack, parameters, attacked
):
    """Twelve people in the holdout are too few to decide: the figures are reported."""
    for variant, row in attacked("original", attack, BASELINES, parameters).items():
        assert row.figures.rho == pytest.approx(1.0), variant
        assert row.figures.units == (8 if variant == "recall" else 12)
        (unmet,) = [gate for gate in row.gates if gate.name == "placements"]
        assert unmet.message.code == "placements_decide_nothing"
        assert unmet.message.nested("reason").code == "too_few_holdout_entities"
        assert not row.named, variant
        assert {(curve.name, curve.of) for curve in row.curves} == {
            ("roc", arm) for arm in row.jobs
        }
        areas = {figure.of: figure for figure in row.side_figures if figure.name == "auc"}
        assert areas["original"].value > 0.98
        for curve in row.curves:
            false, true = zip(*curve.points, strict=True)
            thinned = float(np.diff(false) @ np.diff(true)) / 2  # what lies between the corners
            drawn = np.trapezoid(true, false)
            assert drawn == pytest.approx(areas[curve.of].value, abs=thinned + 1e-9)
    for variant, row in attacked("retrained-2", attack, BASELINES, parameters).items():
        assert not row.named, variant
        assert not row.over_forgotten, variant
        area = next(f for f in row.side_figures if (f.name, f.of) == ("auc", "unlearned"))
        assert area.lower < 0.66
        assert 0.3 < area.value < 0.7


def test_a_suppressed_model_is_less_sure_of_the_forgotten_than_of_the_unseen(attacked):
    """NPO pushes the forget facts below what nobody has seen, which gives it away as well."""
    rows = attacked("npo_gdr", LIKELIHOOD[0], BASELINES, LIKELIHOOD[1])
    assert rows["min-k 20%"].figures.rho < -0.5
    assert rows["min-k++ 20%"].figures.rho < -0.5
    assert not any(row.named for row in rows.values())
    leaks = [f for f in rows["min-k 20%"].side_figures if f.name == "privleak"]
    assert [figure.against for figure in leaks] == list(BASELINES)
    assert all(figure.value > 50 for figure in leaks)


@pytest.mark.slow
def test_gradients_name_a_model_whose_likelihoods_do_not(attacked):
    """NPO lowers what the model says of the forget facts, and leaves it fitted to them."""
    rows = attacked("npo_gdr", "membership/gradient-norm", BASELINES)
    assert rows["p = 2"].figures.rho > 0.3


def test_a_score_without_references_says_what_is_missing(attacked):
    row = attacked("npo_gdr", "membership/likelihood", parameters={"score": "lira"})["lira"]
    assert row.status == "unavailable"
    assert "a reference model" in row.reason.nested("reason").params["error"]


def test_scores_share_the_passes_of_one_search(attacked):
    rows = attacked("npo_gdr", LIKELIHOOD[0], BASELINES, LIKELIHOOD[1])
    assert len({row.forward_tokens for row in rows.values()}) == 1  # the search's, and no more
    assert all(note["forward_tokens"] == 0 for row in rows.values() for note in row.notes.values())
