"""Round to nearest against numpy, and as an attack."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_codes import kept_codes, signed
from tiny_models import ARCHITECTURES
from transformers.pytorch_utils import Conv1D

from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters, round_to_nearest
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError
from auditor.models.language.layers import linear_layers
from auditor.models.preserve import weights_digest


def attack(**parameters):
    return RoundToNearest(RoundToNearestParameters(**parameters))


def reference(weight, bits, group):
    """One group at a time, in numpy's float32."""
    rounded, codes = np.zeros_like(weight), np.zeros(weight.shape, dtype=int)
    top = 2 ** (bits - 1) - 1
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], group or weight.shape[1]):
            part = weight[row, start : start + (group or weight.shape[1])]
            scale = np.abs(part).max() / np.float32(top)
            if scale == 0:
                continue
            code = np.clip(np.round(part / scale), -top - 1, top)
            codes[row, start : start + len(part)] = code
            rounded[row, start : start + len(part)] = code.astype(np.float32) * scale
    return rounded, codes


def test_a_row_worked_out_by_hand():
    """Three bits: top = 3, s = 6/3 = 2; 1 is half a step, and half goes to the even code 0."""
    rounded, codes = round_to_nearest(torch.tensor([[6.0, -3.2, 1.0, 2.9]]), 3, None)
    assert codes.tolist() == [[3, -2, 0, 1]]
    assert rounded.tolist() == [[6.0, -4.0, 0.0, 2.0]]
    rounded, codes = round_to_nearest(torch.tensor([[6.0, -3.2, 1.0, 2.9]]), 3, 2)
    assert codes.tolist() == [[3, -2, 1, 3]]
    assert rounded[0].tolist() == pytest.approx([6.0, -4.0, 2.9 / 3, 2.9])


shapes = st.tuples(st.integers(1, 5), st.integers(1, 40))
cases = st.tuples(
    shapes, st.integers(2, 8), st.none() | st.integers(8, 48), st.integers(0, 2**31), st.booleans()
)


def drawn(case):
    (out, inputs), bits, group, seed, zeros = case
    weight = np.random.default_rng(seed).normal(size=(out, inputs)).astype(np.float32)
    if zeros:
        weight[0] = 0
    return weight, bits, group


@settings(deadline=None)
@given(cases)
def test_rounding_equals_a_loop_in_numpy(case):
    weight, bits, group = drawn(case)
    rounded, codes = round_to_nearest(torch.from_numpy(weight), bits, group)
    expected, expected_codes = reference(weight, bits, group)
    np.testing.assert_array_equal(codes.numpy(), expected_codes)
    np.testing.assert_allclose(rounded.numpy(), expected, rtol=1e-6)


@settings(deadline=None)
@given(cases)
def test_rounded_weights_lie_on_a_grid_no_further_than_half_a_step(case):
    weight, bits, group = drawn(case)
    rounded, codes = round_to_nearest(torch.from_numpy(weight), bits, group)
    assert codes.dtype == torch.int8
    assert codes.shape == weight.shape
    top = 2 ** (bits - 1) - 1
    assert int(codes.abs().max()) <= top  # symmetric: the largest weight is exact
    for start in range(0, weight.shape[1], group or weight.shape[1]):
        part = slice(start, start + (group or weight.shape[1]))
        step = np.abs(weight[:, part]).max(1, keepdims=True) / top
        assert (np.abs(rounded[:, part].numpy() - weight[:, part]) <= step * 0.50001).all()
    again, same = round_to_nearest(rounded, bits, group)
    assert torch.equal(same, codes)  # what is rounded stays
    torch.testing.assert_close(again, rounded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_type_of_the_weights_stays(dtype):
    rounded, _ = round_to_nearest(torch.randn(4, 16).to(dtype), 4, 8)
    assert rounded.dtype == dtype


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("parameters", [{"bits": 4}, {"bits": 3, "group_size": 48}, {"bits": 2}])
def test_every_linear_layer_is_rounded_along_its_inputs_and_restored(
    architecture, parameters, subjects, tmp_path
):
    subject = subjects[architecture]
    digest = weights_digest(subject.network)
    plain = {
        name: (layer.weight.T if isinstance(layer, Conv1D) else layer.weight).detach().clone()
        for name, layer in linear_layers(subject.network).items()
    }
    head = subject.network.get_output_embeddings().weight.detach().clone()
    assert len(plain) == {"llama": 14, "gemma": 14, "qwen2": 14, "opt": 12}.get(architecture, 8)
    run = attack(**parameters)
    with run.quantized(subject, tmp_path) as state:
        codes = kept_codes(state)
        assert codes.keys() == plain.keys()
        for name, layer in linear_layers(subject.network).items():
            weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
            expected, expected_codes = reference(
                plain[name].numpy(), parameters["bits"], parameters.get("group_size")
            )
            np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-5)
            np.testing.assert_array_equal(signed(codes[name]).numpy(), expected_codes.ravel())
        assert torch.equal(subject.network.get_output_embeddings().weight, head)
    assert weights_digest(subject.network) == digest


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_measures_and_explains(architecture, subjects, evaluator, tmp_path):
    subject = subjects[architecture]
    before = evaluator.evaluate(subject)
    eight = attack(bits=8).measure(subject, AttackContext(evaluator, 0, tmp_path))
    two = attack(bits=2).measure(subject, AttackContext(evaluator, 0, tmp_path))

    def distance(record):
        return max(abs(a.k / b.k - 1) for a, b in zip(record.rows, before, strict=True))

    assert len(eight.rows) == 4
    assert 0 < distance(eight) < 0.2
    assert distance(two) > distance(eight)
    assert evaluator.evaluate(subject) == before
    assert two.notes["layers_quantized"] == len(linear_layers(subject.network))
    assert attack(bits=2).explain(two, two).overall == 0
    again = attack(bits=2).measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert again.rows == two.rows


def test_not_a_number_is_never_a_row(subjects, evaluator, tmp_path):
    subject = subjects["gpt2"]
    with torch.no_grad():
        subject.network.transformer.h[1].mlp.c_proj.weight[0, 0] = float("nan")
    with pytest.raises(MeasurementError):
        attack(bits=4).measure(subject, AttackContext(evaluator, 0, tmp_path))


@pytest.mark.parametrize("bad", [{"bits": 1}, {"bits": 9}, {"group_size": 0}, {"bitz": 4}])
def test_parameters_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"bits|group_size|bitz"):
        RoundToNearestParameters(**bad)


def test_variants_have_names_of_their_own():
    assert attack(bits=4).variant == "4-bit"
    assert attack(bits=4, group_size=64).variant == "4-bit g64"
