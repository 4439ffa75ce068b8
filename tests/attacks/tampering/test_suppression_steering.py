"""Suppression steering: directions, choice on other facts, and a random control of equal norm."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES

from attacks.relearning.family import FineTuning
from attacks.steering.directions import means, suppression
from attacks.steering.suppression import (
    Directions,
    Steering,
    SuppressionParameters,
    SuppressionSteering,
)
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.findings import Finding
from auditor.core.records import Record
from auditor.models.causal_lm.hidden_states import changed, decoder_layers
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def attack(**parameters):
    return SuppressionSteering(SuppressionParameters(**parameters))


def streams(model, layers):
    """The stream as some layers leave it, by layer."""
    seen = {}

    def reader(layer):
        def read(stream):
            seen[layer] = stream.detach().clone()
            return stream

        return read

    modules = decoder_layers(model)
    hooks = [changed(modules[layer - 1], reader(layer)) for layer in layers]
    for hook in hooks:
        hook.__enter__()
    with torch.inference_mode():
        model(input_ids=IDS)
    for hook in hooks:
        hook.__exit__(None, None, None)
    return seen


@pytest.fixture
def found():
    """A direction of each of two layers, with means along which nothing is known."""
    drawn = np.random.default_rng(0).normal(size=(2, 2, 128))
    return Directions([1, 2], {"contrast": drawn[0]}, drawn[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_way_does_what_its_name_says(architecture, subjects, found):
    model = subjects[architecture].network
    before, plain = weights_digest(model), streams(model, [1, 2])
    vector = torch.from_numpy(found.vectors["contrast"]).float()
    r = vector / vector.norm(dim=1, keepdim=True)

    with found.applied(model, Steering("contrast", "add", 1, 2.0)):
        moved = streams(model, [1, 2])
    torch.testing.assert_close(moved[1], plain[1] + 2 * vector[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(moved[2], plain[2] + 2 * vector[0], atol=1e-3)

    with found.applied(model, Steering("contrast", "ablate", 2)):
        moved = streams(model, [1, 2])
    for stream in moved.values():
        assert (stream @ r[1]).abs().max() < 1e-4 * stream.norm(dim=-1).max()

    with found.applied(model, Steering("contrast", "centre", None)):
        moved = streams(model, [1, 2])
    for place, stream in enumerate(moved.values()):
        level = float(found.retain[place] @ r[place].double().numpy())
        torch.testing.assert_close(
            stream @ r[place], torch.full((1, 5), level), atol=1e-3, rtol=1e-3
        )

    with found.applied(model, None):
        assert torch.equal(streams(model, [2])[2], plain[2])
    assert torch.equal(streams(model, [2])[2], plain[2])  # the hooks are gone
    assert weights_digest(model) == before


def test_the_control_is_other_directions_of_equal_norm(found):
    control = found.random(3)
    mine, theirs = (d.vectors["contrast"] for d in (found, control))
    np.testing.assert_allclose(np.linalg.norm(theirs, axis=1), np.linalg.norm(mine, axis=1))
    cosine = (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) ** 2
    assert np.abs(cosine).max() < 0.4
    np.testing.assert_array_equal(found.random(3).vectors["contrast"], theirs)
    assert not np.allclose(found.random(4).vectors["contrast"], theirs)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_retain_facts_are_suppressed_in_a_copy_alone(architecture, subjects, evaluator):
    subject = subjects[architecture]
    before = weights_digest(subject.network)
    run = suppression(subject, evaluator.sets.retain, [1, 2], FineTuning(batch_size=4), 8, 0)
    assert run.after < run.before - 0.5, "the answers became less likely"
    assert np.linalg.norm(run.means, axis=1).min() > 0
    assert weights_digest(subject.network) == before
    with pytest.raises(UnavailableError, match="two of them"):
        suppression(subject, evaluator.sets.retain[:1], [1], FineTuning(), 1, 0)


def searched(model, evaluator, **parameters):
    return attack(**parameters).search(model, AttackContext(evaluator, 0, Path("unused")))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_arms_choose_among_the_same_ways(architecture, subjects, evaluator, tmp_path):
    """The direction from the original is the difference of means; the original has none."""
    subject = subjects[architecture]
    run = attack(steps=2, strengths=(1.0,))
    own = searched(subject, evaluator, steps=2, strengths=(1.0,))
    np.testing.assert_allclose(
        own.arrays["forget"], means(subject, evaluator.sets.forget, own.notes["layers"])
    )
    shifted = Record(notes=own.notes, arrays={**own.arrays, "forget": own.arrays["forget"] + 1.0})
    pool = [Finding(Arm.UNLEARNED, True, own), Finding(Arm.ORIGINAL, False, shifted)]
    record = run.measure(subject, AttackContext(evaluator, 0, tmp_path, pool))
    assert record == run.measure(subject, AttackContext(evaluator, 0, tmp_path, pool))
    layers = len(own.notes["layers"])
    assert record.notes["ways"] == 3 * (2 * layers + 2)
    assert record.notes["left_out"] == []
    assert {(row.set, row.fact) for row in record.rows} == {
        ("forget", "f0"),
        ("forget", "f1"),
        ("retain", "f2"),
        ("retain", "f3"),
    }
    assert record.notes["mean_k"].keys() == {"none", "found", "random"}
    assert record.notes["effect"]["after"] > 1e-3

    alone = [Finding(Arm.ORIGINAL, True, own)]
    of_original = run.measure(subject, AttackContext(evaluator, 0, tmp_path, alone))
    assert of_original.notes["left_out"] == ["original"]
    only = attack(sources=("original",))
    left = only.measure(subject, AttackContext(evaluator, 0, tmp_path, alone))
    assert left.notes["ways"] == 0
    assert left.notes["chosen"] == ["none", "none"]
    without = [Finding(Arm.UNLEARNED, True, own)]
    with pytest.raises(UnavailableError, match="no direction to steer along"):
        only.measure(subject, AttackContext(evaluator, 0, tmp_path, without))
    with pytest.raises(MeasurementError, match="the pool lacks"):
        run.measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_without_retain_facts_it_is_unavailable(subjects, evaluator):
    alone = TextEvaluator(evaluator.sets.model_copy(update={"retain": ()}), ["answer-probability"])
    with pytest.raises(UnavailableError, match="against retain facts"):
        searched(subjects["llama"], alone)


def test_strengths_do_not_decide_the_directions():
    assert attack(strengths=(3.0,), facts=2).search_parameters() == attack().search_parameters()
    assert attack(layers=1).search_parameters() != attack().search_parameters()
    assert attack(sources=("contrast",)).packages == ()
    assert attack(sources=("contrast",)).footprint.rank == 0 < attack().footprint.rank
    assert attack().variant == "3 layers"


@pytest.mark.slow
def test_it_brings_back_what_a_suppression_hides_and_random_directions_do_not(attacked):
    row = attacked("npo_gdr", "steering/suppression", parameters={"sources": ["original"]})
    (row,) = row.values()
    known = {arm: noted["mean_k"] for arm, noted in row.notes.items() if "mean_k" in noted}
    assert known["unlearned"]["found"] > known["unlearned"]["random"] + 0.05
    assert known["unlearned"]["random"] < known["unlearned"]["none"] + 0.05
    assert known["retrained-0"]["found"] < 0.05
