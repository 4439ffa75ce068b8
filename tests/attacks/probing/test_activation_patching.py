"""Hidden states put into other models: hand-worked depths, identities, and what it finds."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    ARCHITECTURES,
    PAIRS,
    make_model,
    make_tokenizer,
    open_directory,
    save,
    train_bpe,
)
from torch import nn

from attacks.probing.activation_patching import ActivationPatching, ActivationPatchingParameters
from attacks.probing.patching import log_probabilities
from attacks.probing.unlearning_depth import unlearning_depth
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.facts import FactSets
from auditor.core.findings import Finding
from auditor.models.causal_lm.hidden_states import (
    changed,
    decoder_layers,
    evenly_spaced,
    hidden_states,
)
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest


def attack(**parameters):
    return ActivationPatching(ActivationPatchingParameters(**parameters))


def findings(own, **subjects):
    def found(subject, evaluator):
        return attack().search(subject, AttackContext(evaluator, 0, Path("unused")))

    return lambda evaluator: [
        Finding(arm, arm == own, found(subject, evaluator)) for arm, subject in subjects.items()
    ]


def test_the_depth_of_two_facts_by_hand():
    """First fact: layers lose 2 and 1 of 4 and 1: (0.5 * 4 + 1 * 1) / 5 = 0.6, the third layer's
    0.04 is below the threshold. Second: more than all is all, less than nothing is nothing:
    (1 * 1 + 0 * 3) / 4. Third: the retrained model lacks nothing, so there is no depth."""
    unlearned = np.array([[2.0, 1.0, 3.0], [7.0, -1.0, 0.0], [1.0, 1.0, 1.0]])
    retrained = np.array([[4.0, 1.0, 0.04], [1.0, 3.0, 0.05], [0.0, 0.01, -2.0]])
    assert unlearning_depth(unlearned, retrained).tolist() == pytest.approx([0.6, 0.25])


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_depth_is_zero_for_the_original_and_one_for_a_retrained_model(seed, facts, layers):
    lost = np.random.default_rng(seed).normal(1, 2, size=(facts, layers))
    assert (unlearning_depth(np.zeros_like(lost), lost) == 0).all()
    assert unlearning_depth(lost, lost).tolist() == pytest.approx(
        [1.0] * int((lost > 0.05).any(axis=1).sum())
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_those_that_the_model_reports(architecture, subjects):
    """transformers gives them before the last layer; beyond it comes the final norm."""
    subject = subjects[architecture]
    assert len(decoder_layers(subject.network)) == 2
    items = subject.encode(PAIRS)
    found = hidden_states(subject, items, [1, 2])
    assert not any(m._forward_hooks for m in subject.network.modules())
    for item, states in zip(items, found, strict=True):
        with torch.inference_mode():
            output = subject.network(
                input_ids=torch.tensor([item.ids]), output_hidden_states=True
            ).hidden_states
        places = [place - 1 for place in item.answer]
        np.testing.assert_allclose(states[1], output[1][0, places].numpy(), atol=2e-4, rtol=1e-3)
        assert states[2].shape == states[1].shape == (len(item.answer), 128)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_models_own_states_change_nothing(architecture, subjects):
    subject = subjects[architecture]
    before = weights_digest(subject.network)
    items = subject.encode(PAIRS)
    plain = log_probabilities(subject, items)
    expected = [score.mean_log_probability for score in subject.score(PAIRS)]
    assert plain.tolist() == pytest.approx(expected, rel=1e-6)
    states = hidden_states(subject, items, [1, 2])
    for layer in (1, 2):
        own = log_probabilities(subject, items, layer, [found[layer] for found in states])
        assert own.tolist() == plain.tolist()
    assert weights_digest(subject.network) == before
    assert not any(m._forward_hooks for m in subject.network.modules())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_of_the_last_layer_give_the_originals_probabilities(
    architecture, subjects, tmp_path
):
    """The arm shares the original's final norm and head; its layers are others."""
    original = subjects[architecture]
    changed_model = copy.deepcopy(original.network)
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in decoder_layers(changed_model):
            for parameter in layer.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    arm = open_directory(save(tmp_path / "arm", changed_model, make_tokenizer()))
    items = original.encode(PAIRS)
    wanted, own = log_probabilities(original, items), log_probabilities(arm, items)
    assert np.abs(wanted - own).max() > 0.01
    states = hidden_states(original, items, [1, 2])
    last = log_probabilities(arm, items, 2, [found[2] for found in states])
    assert last.tolist() == pytest.approx(wanted.tolist(), abs=1e-5)
    first = log_probabilities(arm, items, 1, [found[1] for found in states])
    assert np.abs(first - wanted).max() > 1e-3
    assert np.abs(first - own).max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_measures_every_arm_against_the_original(architecture, subjects, evaluator, tmp_path):
    subject = subjects[architecture]
    pool = findings("original", original=subject, unlearned=subject)(evaluator)
    run = attack()
    record = run.measure(subject, AttackContext(evaluator, 0, tmp_path, pool))
    assert record == run.measure(subject, AttackContext(evaluator, 0, tmp_path, pool))
    plain = {row.fact: row.k for row in evaluator.evaluate(subject, ("forget",))}
    assert {row.fact: row.k for row in record.rows} == pytest.approx(plain, rel=1e-5)
    assert {row.metric for row in record.rows} == {"activation-patching"}
    assert record.notes["layers_counted"] == [1]
    assert record.notes["original_by_layer"].keys() == {"unlearned"}
    explained = run.explain(record, record)
    assert explained.overall == record.notes["forget_by_layer"]["1"]
    assert len(run.side_figures({"original": record.notes})) == 4


def test_an_arm_that_loses_more_than_half_cannot_read_the_states():
    attack()._check_unreadable(0.45, 0.9, 1)
    with pytest.raises(UnavailableError, match=r"falls from 0\.90 to 0\.44 with them at layer 3"):
        attack()._check_unreadable(0.44, 0.9, 3)
    attack(readable=0.4)._check_unreadable(0.44, 0.9, 3)


def test_arms_of_another_shape_are_unavailable(subjects, evaluator, tmp_path):
    config_width = make_model("llama").config
    config_width.hidden_size, config_width.intermediate_size = 64, 128
    narrow = type(make_model("llama"))(config_width).eval()
    arm = open_directory(save(tmp_path / "narrow", narrow, make_tokenizer()))
    pool = findings("unlearned", original=subjects["llama"], unlearned=arm)(evaluator)
    with pytest.raises(UnavailableError, match="another width"):
        attack().measure(arm, AttackContext(evaluator, 0, tmp_path, pool))
    begun = make_tokenizer(train_bpe(template="<eos> $A"))
    other = open_directory(save(tmp_path / "tokens", make_model("llama"), begun))
    pool = findings("unlearned", original=subjects["llama"], unlearned=other)(evaluator)
    with pytest.raises(UnavailableError, match="other tokens"):
        attack().measure(other, AttackContext(evaluator, 0, tmp_path, pool))


def test_without_retain_facts_it_is_unavailable(subjects, evaluator):
    alone = TextEvaluator(FactSets(forget=evaluator.sets.forget), ["answer-probability"])
    with pytest.raises(UnavailableError, match="checked on retain facts"):
        attack().search(subjects["llama"], AttackContext(alone, 0, Path("unused")))


def test_layers_are_spaced_evenly_and_end_at_the_last():
    assert evenly_spaced(32, 8) == [4, 8, 12, 16, 20, 24, 28, 32]
    assert evenly_spaced(2, 8) == [1, 2]
    assert evenly_spaced(5, 2) == [2, 5]


def test_a_model_without_a_list_of_layers_is_unavailable():
    with pytest.raises(UnavailableError, match="no list of decoder layers"):
        decoder_layers(nn.Linear(2, 2))
    model = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2), nn.ReLU()]), nn.Linear(2, 2)])
    with pytest.raises(UnavailableError, match="no list of decoder layers"):
        decoder_layers(model)


def test_a_hook_is_removed_when_the_model_fails():
    layer = nn.Linear(2, 2)
    with pytest.raises(RuntimeError), changed(layer, lambda stream: stream):
        layer(torch.ones(3))
    assert not layer._forward_hooks


@pytest.mark.slow
def test_it_finds_knowledge_that_a_refusal_left_in_the_weights(attacked_fine_tuned):
    row = attacked_fine_tuned("refusing", "probing/activation-patching")["8 layers"]
    assert row.named
    assert row.figures.rho > 0.3
    assert row.metric == "activation-patching"
    assert 0.1 < row.forget["activation-patching"]["retrained-0"] < 0.5
    depth = [
        f for f in row.side_figures if (f.name, f.against) == ("unlearning_depth", "retrained-0")
    ]
    assert len(depth) == 1
    assert 0.3 < depth[0].value < 0.9
    plain = attacked_fine_tuned("refusing", "none/as-is")["full precision"]
    assert plain.figures.rho < 0.05


@pytest.mark.slow
def test_it_finds_nothing_in_a_retrained_model(attacked_fine_tuned):
    row = attacked_fine_tuned("retrained-1", "probing/activation-patching")["8 layers"]
    assert not row.named
    assert abs(row.figures.rho) < 0.1


@pytest.mark.slow
def test_models_trained_from_other_random_weights_are_told_apart(attacked):
    """The testbed's retrained models share no coordinates with the original: no verdict on them."""
    row = attacked("npo_gdr", "probing/activation-patching")["8 layers"]
    assert row.status == "unavailable"
    assert "fine-tuned from one checkpoint" in row.reason.nested("reason").params["error"]
    assert row.reason.params["arm"] == "retrained-0"
