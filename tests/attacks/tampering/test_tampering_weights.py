"""Noise, pruning and interpolation against numbers worked out by hand and in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save
from torch import nn

from attacks.tampering.interpolation import (
    Interpolation,
    InterpolationParameters,
    interpolate,
)
from attacks.tampering.noise import Noise, NoiseParameters, standard_normal
from attacks.tampering.pruning import Pruning, PruningParameters
from auditor.attack import AttackContext
from auditor.core.errors import AuditorError, MeasurementError, UnavailableError
from auditor.models.language.layers import weight_matrices
from auditor.models.preserve import weights_digest
from auditor.statistics.effect import effect_note

CPU = torch.device("cpu")
MATRICES = {"llama": 14, "gemma": 14, "qwen2": 14, "opt": 12, "gpt2": 8, "neox": 8}
"""Two layers each; fused queries, keys and values count once."""


class TwoByTwo(nn.Module):
    """One linear layer of four weights, an embedding and a head, which stay."""

    def __init__(self, weights):
        super().__init__()
        self.embedding = nn.Embedding(2, 2)
        self.layer = nn.Linear(2, 2)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor(weights))

    def get_output_embeddings(self):
        return self.head


def noise(level=0.1):
    return Noise(NoiseParameters(relative_std=level))


def pruning(share=0.5):
    return Pruning(PruningParameters(sparsity=share))


def interpolation(**parameters):
    return Interpolation(InterpolationParameters(**parameters))


def untouched(model):
    """Every tensor that is no weight matrix, by name."""
    changed = {id(matrix.parameter) for matrix in weight_matrices(model)}
    return {n: p.detach().clone() for n, p in model.named_parameters() if id(p) not in changed}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_half_of_four_weights_is_pruned_by_hand():
    model = TwoByTwo([[1.0, -2.0], [3.0, -4.0]])
    notes = pruning(0.5).tamper(None, model, 0)
    assert notes["zeros"] == 0.5
    # of the squares 1, 4, 9 and 16 the first two are gone
    assert notes["effect"] == effect_note("weight_change", 0.0, (5 / 30) ** 0.5)
    assert model.layer.weight.tolist() == [[0.0, 0.0], [3.0, -4.0]]
    assert {n for n, _ in model.named_parameters()} == {
        "embedding.weight",
        "layer.weight",
        "layer.bias",
        "head.weight",
    }
    assert not model.layer._forward_pre_hooks


def test_a_step_towards_the_base_by_hand():
    model, base = TwoByTwo([[1.0, 2.0], [3.0, 4.0]]), TwoByTwo([[5.0, 6.0], [7.0, 0.0]])
    interpolate(model, base, 0.25)
    assert model.layer.weight.tolist() == [[2.0, 3.0], [4.0, 3.0]]
    interpolate(model, base, -1.0)
    assert model.layer.weight.tolist() == [[-1.0, 0.0], [1.0, 6.0]]
    interpolate(model, base, 1.0)
    for moved, wanted in zip(model.parameters(), base.parameters(), strict=True):
        torch.testing.assert_close(moved, wanted)


def test_noise_is_the_share_of_the_matrix_spread_that_was_asked_for():
    """std of 1, -1, 3, -3 is sqrt(20/3) (n - 1 in the denominator)."""
    model = TwoByTwo([[1.0, -1.0], [3.0, -3.0]])
    drawn = standard_normal("layer.weight", torch.Size([2, 2]), 7, CPU)
    noise(0.5).tamper(None, model, 7)
    expected = torch.tensor([[1.0, -1.0], [3.0, -3.0]]) + 0.5 * (20 / 3) ** 0.5 * drawn
    torch.testing.assert_close(model.layer.weight.data, expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.02, 0.98), st.integers(0, 2**31))
def test_pruning_equals_numpy(out, inputs, share, seed):
    weight = np.random.default_rng(seed).normal(size=(out, inputs)).astype(np.float32)
    model = TwoByTwo([[0.0, 0.0], [0.0, 0.0]])
    model.layer = nn.Linear(inputs, out)
    model.layer.weight.data = torch.from_numpy(weight.copy())
    pruning(share).tamper(None, model, 0)
    count = round(share * weight.size)
    smallest = np.argsort(np.abs(weight), axis=None)[:count]
    expected = weight.copy().reshape(-1)
    expected[smallest] = 0
    np.testing.assert_array_equal(
        model.layer.weight.detach().numpy(), expected.reshape(weight.shape)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_matrix_gets_the_noise_and_nothing_else_does(architecture, subjects):
    subject = subjects[architecture]
    before = weights_digest(subject.network)
    plain = {m.name: m.parameter.detach().clone() for m in weight_matrices(subject.network)}
    left = untouched(subject.network)
    assert len(plain) == MATRICES[architecture]
    with subject.preserve_weights() as model:
        notes = noise(0.2).tamper(subject, model, 0)
        assert notes["matrices"] == len(plain)
        assert notes["realised_level"] == pytest.approx(0.2, rel=0.01)
        for name, _, _, parameter in weight_matrices(model):
            level = (parameter.data - plain[name]).std() / plain[name].std()
            assert float(level) == pytest.approx(0.2, rel=0.03)
        assert same(untouched(model), left)
    assert weights_digest(subject.network) == before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_matrix_is_pruned_by_itself_and_given_back(architecture, subjects):
    subject = subjects[architecture]
    before = weights_digest(subject.network)
    left = untouched(subject.network)
    with subject.preserve_weights() as model:
        pruning(0.3).tamper(subject, model, 0)
        for _, _, _, parameter in weight_matrices(model):
            assert float((parameter == 0).float().mean()) == pytest.approx(0.3, abs=1e-3)
        assert same(untouched(model), left)
    assert weights_digest(subject.network) == before


def test_arms_get_the_same_draw_and_seeds_do_not():
    shape = torch.Size([3, 5])
    again = standard_normal("layers.0.weight", shape, 0, CPU)
    state = torch.random.get_rng_state()
    assert torch.equal(again, standard_normal("layers.0.weight", shape, 0, CPU))
    assert torch.equal(state, torch.random.get_rng_state())
    for other in (
        standard_normal("layers.0.weight", shape, 1, CPU),
        standard_normal("layers.1.weight", shape, 0, CPU),
    ):
        assert not torch.equal(again, other)
    first, second = make_model("llama", seed=0), make_model("llama", seed=1)
    draws = []
    for model in (first, second):
        plain = {m.name: m.parameter.detach().clone() for m in weight_matrices(model)}
        noise(0.5).tamper(None, model, 3)
        draws.append(
            {
                name: (parameter.data - plain[name]) / plain[name].std()
                for name, _, _, parameter in weight_matrices(model)
            }
        )
    for name, draw in draws[0].items():
        torch.testing.assert_close(draw, draws[1][name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("run", [noise(), pruning(0.3)], ids=["noise", "pruning"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_measuring_is_deterministic_and_leaves_the_subject_as_it_was(
    architecture, run, subjects, evaluator, tmp_path
):
    subject = subjects[architecture]
    before, plain = weights_digest(subject.network), evaluator.evaluate(subject)
    first = run.measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert run.measure(subject, AttackContext(evaluator, 0, tmp_path)) == first
    assert first.rows != plain
    assert evaluator.evaluate(subject) == plain
    assert weights_digest(subject.network) == before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_whole_step_is_the_base(architecture, directories, evaluator, tmp_path):
    other = save(tmp_path / "base", make_model(architecture, seed=1), make_tokenizer())
    subject, base = open_directory(directories[architecture]), open_directory(other)
    before = weights_digest(subject.network)
    plain, wanted = evaluator.evaluate(subject), evaluator.evaluate(base)
    whole = interpolation(base=str(other), step=1).measure(
        subject, AttackContext(evaluator, 0, tmp_path)
    )
    assert [row.k for row in whole.rows] == pytest.approx([row.k for row in wanted], rel=1e-4)
    none = interpolation(base=str(other), step=0).measure(
        subject, AttackContext(evaluator, 0, tmp_path)
    )
    assert none.rows == plain
    assert weights_digest(subject.network) == before
    digest = base.manifest.digest
    assert interpolation(base=str(other)).inputs() == {"base": digest}
    assert whole.notes["base"] == digest
    assert whole.notes["effect"]["after"] > 0.5
    assert none.notes["effect"]["after"] == 0.0


def test_a_base_that_does_not_fit_is_named(directories, subjects, evaluator, tmp_path):
    small = save(tmp_path / "small", make_model("llama", vocabulary=500), make_tokenizer())
    with pytest.raises(UnavailableError, match=r"embed_tokens\.weight has the shape \(400, 128\)"):
        interpolation(base=str(small)).measure(
            subjects["llama"], AttackContext(evaluator, 0, tmp_path)
        )
    with pytest.raises(UnavailableError, match="has no transformer"):
        interpolation(base=str(directories["opt"])).measure(
            subjects["gpt2"], AttackContext(evaluator, 0, tmp_path)
        )
    with pytest.raises(UnavailableError, match="one of the audited models"):
        interpolation(base=str(directories["opt"])).measure(
            subjects["opt"], AttackContext(evaluator, 0, tmp_path)
        )
    assert interpolation().unavailable(subjects["opt"].location).code == "base_model_not_given"
    assert interpolation().inputs() == {}
    with pytest.raises(AuditorError, match="no such directory"):
        interpolation(base=str(tmp_path / "nowhere")).inputs()


def test_not_a_number_is_never_a_row(subjects, evaluator, tmp_path):
    subject = subjects["gpt2"]
    with torch.no_grad():
        subject.network.transformer.h[1].mlp.c_proj.weight[0, 0] = float("nan")
    with pytest.raises(MeasurementError):
        noise().measure(subject, AttackContext(evaluator, 0, tmp_path))


@pytest.mark.parametrize(
    ("parameters", "bad"),
    [
        (NoiseParameters, {"relative_std": 0}),
        (NoiseParameters, {"sigma": 0.1}),
        (PruningParameters, {"sparsity": 0}),
        (PruningParameters, {"sparsity": 1}),
        (InterpolationParameters, {"step": 9}),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        parameters(**bad)


def test_variants_have_names_of_their_own():
    for cls in (Noise, Pruning, Interpolation):
        names = [cls(cls.parameters_type(**preset.parameters)).variant for preset in cls.presets]
        assert len(set(names)) == len(names) > 2
    assert noise(0.05).variant == "0.05 std"
    assert pruning(0.3).variant == "30 %"
    assert interpolation(step=-0.5).variant == "step -0.5"
