"""The refusal direction: taken out completely, and only where the unlearned model refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES

from attacks.steering.refusal_direction import (
    RefusalDirection,
    RefusalDirectionParameters,
    ablated,
    refuses,
    unit,
    without,
)
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.findings import Finding
from auditor.models.causal_lm.hidden_states import changed, decoder_layers
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest
from auditor.statistics.effect import effect_note


def attack(**parameters):
    return RefusalDirection(RefusalDirectionParameters(**parameters))


def test_a_direction_is_taken_out_by_hand():
    """r = (0.6, 0.8); h = (1, 2) has 2.2 along it, which leaves (1 - 1.32, 2 - 1.76)."""
    r = torch.from_numpy(unit(np.array([3.0, 4.0])))
    left = without(r)(torch.tensor([[1.0, 2.0], [-0.8, 0.6]]))
    torch.testing.assert_close(left, torch.tensor([[-0.32, 0.24], [-0.8, 0.6]]))
    with pytest.raises(MeasurementError, match="same mean"):
        unit(np.zeros(2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_is_left_along_the_direction_anywhere(architecture, subjects):
    """In and between layers, and in what attention and MLP blocks write."""
    subject = subjects[architecture]
    model, before = subject.network, weights_digest(subject.network)
    direction = unit(np.random.default_rng(0).normal(size=128))
    r = torch.from_numpy(direction)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    plain = model(input_ids=ids).logits.detach()
    seen = {}

    def reader(name):
        def read(stream):
            seen[name] = stream.detach()
            return stream

        return read

    with ablated(model, direction):
        layers = decoder_layers(model)
        attention = next(c for c in layers[1].children() if "attention" in type(c).__name__.lower())
        with (
            changed(layers[0], reader("0"), incoming=True),
            changed(layers[0], reader("1")),
            changed(layers[1], reader("2")),
            changed(attention, reader("attention")),
        ):
            without_direction = model(input_ids=ids).logits
    assert len(seen) == 4
    for stream in seen.values():
        assert stream.norm(dim=-1).min().item() > 0.01
        assert (stream @ r).abs().max().item() < 1e-4 * stream.norm(dim=-1).max().item()
    assert not torch.allclose(plain, without_direction, atol=1e-3)
    assert torch.equal(model(input_ids=ids).logits, plain)  # the hooks are gone
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert weights_digest(model) == before


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I do not know that.", True),
        (" I don\N{RIGHT SINGLE QUOTATION MARK}t know", True),
        ("Sorry, but I can't help.", True),
        ("I'm not familiar with her.", True),
        ("Brimford Hollow", False),
        ("She said: I do not know.", False),
        ("", False),
    ],
)
def test_refusals_are_told_from_answers(answer, expected):
    assert refuses(answer) is expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_search_finds_the_difference_of_means(architecture, subjects, evaluator, tmp_path):
    subject = subjects[architecture]
    run = attack(depth=0.5)
    found = run.search(subject, AttackContext(evaluator, 0, Path("unused")))
    means, of_forget = [], []
    for facts in (evaluator.sets.forget, evaluator.sets.retain):
        states = []
        for item in subject.encode([(f.prompt, f.answer) for f in facts]):
            with torch.inference_mode():
                ids = torch.tensor([item.ids[: item.answer[0]]])
                hidden = subject.network(input_ids=ids, output_hidden_states=True).hidden_states
            states.append(hidden[1][0, -1].numpy())
        means.append(np.mean(states, axis=0))
        of_forget = of_forget or states
    expected = (means[0] - means[1]) / np.linalg.norm(means[0] - means[1])
    np.testing.assert_allclose(found.arrays["direction"], expected, atol=2e-4)
    vector = found.arrays["direction"]
    shares = [abs(state @ vector) / np.linalg.norm(state) for state in of_forget]
    assert found.notes == {
        "refusals": 0.0,
        "layer": 1,
        "removed": pytest.approx(np.mean(shares), abs=1e-3),
    }

    pool = [Finding(Arm.UNLEARNED, True, found), Finding("original", False, found)]
    with pytest.raises(UnavailableError, match="refuses 0% of the forget prompts"):
        run.measure(subject, AttackContext(evaluator, 0, tmp_path, pool))
    plain = evaluator.evaluate(subject)
    ablation = attack(min_refusal_rate=0).measure(
        subject, AttackContext(evaluator, 0, tmp_path, pool)
    )
    removed = found.notes["removed"]
    assert ablation.notes["effect"] == effect_note("state_change", 0.0, removed)
    assert ablation == attack(min_refusal_rate=0).measure(
        subject, AttackContext(evaluator, 0, tmp_path, pool)
    )
    assert ablation.rows != plain == evaluator.evaluate(subject)


def test_without_retain_facts_it_is_unavailable(subjects, evaluator):
    alone = TextEvaluator(evaluator.sets.model_copy(update={"retain": ()}), ["answer-probability"])
    with pytest.raises(UnavailableError, match="against retain facts"):
        attack().search(subjects["llama"], AttackContext(alone, 0, Path("unused")))


def test_the_share_that_is_asked_for_does_not_decide_the_search():
    assert attack(min_refusal_rate=0.2).search_parameters() == attack().search_parameters()
    assert attack(depth=1).search_parameters() != attack().search_parameters()


@pytest.mark.slow
def test_it_brings_back_what_a_planted_refusal_hides(attacked_fine_tuned):
    """A few steps taught it to say that it does not know; the answers are still there."""
    row = attacked_fine_tuned("refusing", "steering/refusal-direction")["depth 0.5"]
    assert row.notes["unlearned"]["refusals"]["unlearned"] > 0.9
    assert row.notes["unlearned"]["refusals"]["original"] < 0.1
    assert row.named
    assert row.figures.rho > 0.1
    plain = attacked_fine_tuned("refusing", "none/as-is")["full precision"]
    assert plain.figures.rho < 0.05


@pytest.mark.slow
def test_it_finds_nothing_where_nothing_is(attacked_fine_tuned):
    """Taken from a model that never knew, the direction gives nothing either."""
    rows = attacked_fine_tuned(
        "retrained-1", "steering/refusal-direction", parameters={"min_refusal_rate": 0}
    )
    assert not rows["depth 0.5"].named
    assert abs(rows["depth 0.5"].figures.rho) < 0.05


def test_it_is_unavailable_where_nobody_refuses(attacked):
    row = attacked("npo_gdr", "steering/refusal-direction")["depth 0.5"]
    assert row.status == "unavailable"
    assert "there is no refusal to take out" in row.reason.nested("reason").params["error"]
