"""Mode connectivity: distance, line and barrier against what can be worked out by hand."""

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save

from attacks.probing.mode_connectivity import (
    ModeConnectivity,
    ModeConnectivityParameters,
    barrier,
    distance,
)
from attacks.tampering.interpolation import interpolate
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.records import check_malformed
from auditor.models.preserve import weights_digest

ATTACK = ModeConnectivity(ModeConnectivityParameters(points=3))


def test_a_barrier_is_what_rises_above_the_straight_line():
    assert barrier([(0.0, 1.0), (0.5, 5.0), (1.0, 3.0)]) == pytest.approx(3.0)
    assert barrier([(0.0, 4.0), (0.25, 3.0), (0.5, 2.0), (1.0, 0.0)]) == pytest.approx(0.0)
    assert barrier([(0.0, 4.0), (0.5, 1.0), (1.0, 0.0)]) == 0.0, "a valley is no barrier"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A llama of the same shape from other random weights."""
    return save(
        tmp_path_factory.mktemp("other") / "llama", make_model("llama", 5), make_tokenizer()
    )


def measured(model, donor, evaluator, tmp_path):
    context = AttackContext(evaluator, 0, tmp_path, donor=donor)
    record = ATTACK.measure(model, context)
    check_malformed(record)
    return record


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_beside_itself_has_no_way_to_go(architecture, directories, evaluator, tmp_path):
    model, donor = (open_directory(directories[architecture]) for _ in range(2))
    before = weights_digest(model.network)
    record = measured(model, donor, evaluator, tmp_path)
    assert weights_digest(model.network) == before
    assert record.notes["distance"] == 0.0
    assert record.notes["barrier"] == pytest.approx({"forget": 0.0, "retain": 0.0}, abs=1e-6)
    assert record.rows == evaluator.evaluate(model)


def test_the_line_ends_where_the_two_models_are(directories, other, evaluator, tmp_path):
    model, donor = open_directory(directories["llama"]), open_directory(other)
    record = measured(model, donor, evaluator, tmp_path)
    for name, facts in (("forget", evaluator.sets.forget), ("retain", evaluator.sets.retain)):
        pairs = [(fact.prompt, fact.answer) for fact in facts]
        ends = [
            -np.mean([score.mean_log_probability for score in each.score(pairs)])
            for each in (model, donor)
        ]
        line = record.notes["lines"][name]
        assert [share for share, _ in line] == [0.0, 0.5, 1.0]
        np.testing.assert_allclose([line[0][1], line[2][1]], ends, rtol=1e-5)
        assert record.notes["barrier"][name] == pytest.approx(
            max(0.0, line[1][1] - (line[0][1] + line[2][1]) / 2)
        )
    ours, theirs = (
        torch.cat([p.detach().reshape(-1) for p in each.network.parameters()])
        for each in (model, donor)
    )
    expected = float((ours - theirs).norm() / theirs.norm())
    assert distance(model.network, donor.network) == pytest.approx(expected, rel=1e-5)
    assert record.notes["distance"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("points", [4, 5])
def test_points_lie_on_the_straight_line(
    points, directories, other, evaluator, monkeypatch, tmp_path
):
    model, donor, loans = open_directory(directories["llama"]), open_directory(other), []
    lend = model.preserve_weights
    monkeypatch.setattr(model, "preserve_weights", lambda: loans.append(1) or lend())
    attack = ModeConnectivity(ModeConnectivityParameters(points=points))
    record = attack.measure(model, AttackContext(evaluator, 0, tmp_path, donor=donor))
    pairs = [(fact.prompt, fact.answer) for fact in evaluator.sets.forget]
    assert len(loans) == 1
    assert [share for share, _ in record.notes["lines"]["forget"]] == pytest.approx(
        [n / (points - 1) for n in range(points)]
    )
    for share, loss in record.notes["lines"]["forget"]:
        there = open_directory(directories["llama"])
        interpolate(there.network, donor.network, share)
        expected = -np.mean([score.mean_log_probability for score in there.score(pairs)])
        assert loss == pytest.approx(expected, rel=1e-5)
    half = open_directory(directories["llama"])
    interpolate(half.network, donor.network, 0.5)
    assert [row.k for row in record.rows] == pytest.approx(
        [row.k for row in evaluator.evaluate(half)], rel=1e-4
    )


def test_without_the_original_there_is_no_line(subjects, evaluator, tmp_path):
    with pytest.raises(UnavailableError, match="original"):
        ATTACK.measure(subjects["llama"], AttackContext(evaluator, 0, tmp_path))
    with pytest.raises(UnavailableError, match="same architecture"):
        measured(subjects["llama"], subjects["gpt2"], evaluator, tmp_path)


def test_it_reports_and_decides_nothing():
    notes = {
        "unlearned": {
            "distance": 0.1,
            "barrier": {"forget": 0.0},
            "lines": {"forget": [(0.0, 2.0), (1.0, 1.0)]},
        },
        "retrained-0": {},
    }
    figures = {(f.name, f.of): f.value for f in ATTACK.side_figures(notes)}
    assert figures == {
        ("distance_to_original", "unlearned"): 0.1,
        ("loss_barrier", "unlearned"): 0.0,
    }
    (curve,) = ATTACK.curves(notes)
    assert (curve.name, curve.points) == ("loss_on_line_forget", ((0.0, 2.0), (1.0, 1.0)))
    assert not ModeConnectivity.decides


@pytest.mark.slow
@pytest.mark.nightly
def test_unlearning_stays_in_the_basin_and_retraining_lies_behind_a_hill(attacked):
    (found,) = attacked("npo_gdr", "probing/mode-connectivity").values()
    figures = {(f.name, f.of, f.params.get("set")): f.value for f in found.side_figures}
    assert figures["distance_to_original", "unlearned", None] < 0.1
    assert figures["distance_to_original", "retrained-0", None] > 1.0
    assert figures["loss_barrier", "unlearned", "retain"] < 0.05
    assert figures["loss_barrier", "retrained-0", "retain"] > 2.0
    assert found.role == "reported"
