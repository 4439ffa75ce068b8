"""torchao: what it rounded, read back by hand."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from kept_codes import kept_codes, signed
from tiny_models import (
    ARCHITECTURES,
    make_config,
    make_model,
    make_tokenizer,
    open_directory,
    save,
)
from transformers import AutoModelForCausalLM

from attacks.quantization.torchao_formats import TorchAO, TorchAOParameters
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.engine.expansion import expand
from auditor.engine.plan import parse_plan
from auditor.models.language.layers import linear_layers
from auditor.models.preserve import weights_digest

FORMATS = ("int8", "int4", "int8-dynamic", "fp8", "nvfp4", "mxfp4")
CHANGE = {"int8": 0.3, "int8-dynamic": 0.3}
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
"""Values of the format (arXiv 2310.10537, table 1), besides the sign."""


def attack(format_, **parameters):
    return TorchAO(TorchAOParameters(**({"format": format_, "group_size": 32} | parameters)))


def plain_weights(model):
    return {name: layer.weight.detach().clone() for name, layer in linear_layers(model).items()}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"gpt2"}))
def test_all_formats_on_five_architectures(architecture, format_, subjects, evaluator, tmp_path):
    subject = subjects[architecture]
    before, digest = evaluator.evaluate(subject), weights_digest(subject.network)
    run = attack(format_)
    record = run.measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert record.notes["layers_quantized"] == len(linear_layers(subject.network))
    assert record.arrays.keys() == {
        f"{kind}/{name}" for name in linear_layers(subject.network) for kind in ("codes", "size")
    }
    change = [abs(a.k / b.k - 1) for a, b in zip(record.rows, before, strict=True)]
    assert 0 < max(change) < CHANGE.get(format_, 2)
    assert weights_digest(subject.network) == digest
    assert run.measure(subject, AttackContext(evaluator, 0, tmp_path)).rows == record.rows
    assert run.explain(record, record).overall == 0


@pytest.mark.parametrize(("format_", "group", "half"), [("int8", None, 127.5), ("int4", 32, 7.5)])
def test_codes_are_the_nearest_and_what_a_layer_computes_with(
    format_, group, half, subjects, tmp_path
):
    """The step of a row or group is max|w| / (2^bits - 1) * 2; no zero point."""
    subject = subjects["llama"]
    plain = plain_weights(subject.network)
    with attack(format_).quantized(subject, tmp_path) as state:
        layers = dict(state.model.network.named_modules())
        for name, kept in kept_codes(state).items():
            codes = signed(kept).reshape(plain[name].shape)
            grouped = plain[name].reshape(len(codes), -1, group or codes.shape[1])
            step = grouped.abs().amax(-1, keepdim=True) / half
            code = codes.reshape(grouped.shape).float()
            exact = (grouped / step).clamp(-half - 0.5, half - 0.5)
            assert float((code - exact).abs().max()) < 0.501, name
            x = torch.randn(3, codes.shape[1])
            bias = layers[name].bias
            want = x @ (code * step).reshape(codes.shape).T + (0 if bias is None else bias)
            with torch.inference_mode():
                np.testing.assert_allclose(layers[name](x), want, atol=1e-4)


def test_fp8_weights_are_those_of_torch(subjects, tmp_path):
    """A scale for each output: its largest weight becomes the largest number of e4m3, 448."""
    subject = subjects["llama"]
    plain = plain_weights(subject.network)
    with attack("fp8").quantized(subject, tmp_path) as state:
        for name, layer in linear_layers(state.model.network).items():
            scale = plain[name].abs().amax(1, keepdim=True) / 448
            wanted = (plain[name] / scale).to(torch.float8_e4m3fn).float() * scale
            torch.testing.assert_close(layer.weight.data.dequantize(), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("format_", "width"), [("nvfp4", 16), ("mxfp4", 32)])
def test_blocks_hold_the_values_of_e2m1(format_, width, subjects, tmp_path):
    subject = subjects["llama"]
    plain = plain_weights(subject.network)
    with attack(format_).quantized(subject, tmp_path) as state:
        for name, layer in linear_layers(state.model.network).items():
            now = layer.weight.data.dequantize().float().reshape(-1, width)
            largest = now.abs().amax(-1, keepdim=True)
            found = torch.zeros(len(now), dtype=torch.bool)
            for top in (6, 4, 3):  # what the largest weight of a block became
                steps = (now.abs() / largest * top).unsqueeze(-1)
                found |= ((steps - E2M1).abs().amin(-1) < 1e-3).all(-1)
            assert found.all(), name
            assert ((now - plain[name].reshape(-1, width)).abs() < 0.34 * largest).all(), name


@pytest.mark.parametrize("format_", ["int8-dynamic", "mxfp4"])
def test_dynamic_formats_round_what_goes_into_a_layer(format_, subjects, tmp_path):
    with attack(format_).quantized(subjects["llama"], tmp_path) as state:
        layer = next(iter(linear_layers(state.model.network).values()))
        x = torch.randn(3, layer.in_features, dtype=layer.weight.dtype)
        with torch.inference_mode():
            exact = x @ layer.weight.data.dequantize().T
            off = (layer(x) - exact).norm() / exact.norm()
        assert 1e-3 < off < 0.3


def test_blocks_that_do_not_fit_are_unavailable(tmp_path, evaluator):
    config = make_config("llama")
    config.intermediate_size = 72
    subject = open_directory(
        save(tmp_path / "odd", AutoModelForCausalLM.from_config(config), make_tokenizer())
    )
    for format_ in ("nvfp4", "mxfp4"):
        with pytest.raises(UnavailableError, match=r"do not divide the inputs of 2 layers.*down"):
            attack(format_).measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_a_model_of_conv1d_layers_is_unavailable(subjects, evaluator, tmp_path):
    for format_ in FORMATS:
        with pytest.raises(UnavailableError, match=r"8 layers of this model are Conv1D .*c_attn"):
            attack(format_).measure(subjects["gpt2"], AttackContext(evaluator, 0, tmp_path))


def test_a_group_size_that_does_not_fit_is_unavailable(subjects, evaluator, tmp_path):
    with pytest.raises(UnavailableError, match=r"groups of 96 .* the 128 inputs of .*q_proj"):
        attack("int4", group_size=96).measure(
            subjects["llama"], AttackContext(evaluator, 0, tmp_path)
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="says why it is not for this machine")
def test_the_format_of_a_gpu_kernel_says_so(subjects):
    location = subjects["llama"].location
    for format_ in ("int4-tinygemm", "fp8-dynamic"):
        assert attack(format_).unavailable(location).code == "newer_gpu_needed"
    for format_ in FORMATS:
        assert attack(format_).unavailable(location) is None


def test_not_a_number_is_never_a_row(tmp_path, evaluator):
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[3, 5] = float("nan")
    subject = open_directory(save(tmp_path / "nan", model, make_tokenizer()))
    for format_ in FORMATS:
        with pytest.raises(MeasurementError):
            attack(format_).measure(subject, AttackContext(evaluator, 0, tmp_path))


@pytest.mark.parametrize(
    ("name", "parameters", "variants"),
    [
        ("gptq", {"bits": [8, 4, 3, 2]}, ["8-bit g128", "4-bit g128", "3-bit g128", "2-bit g128"]),
        ("gptq", {"bits": [4, 3], "group_size": [64]}, ["4-bit g64", "3-bit g64"]),
        ("rtn", {"bits": [8, 4, 3, 2]}, ["8-bit", "4-bit", "3-bit", "2-bit"]),
        ("awq", {"group_size": [32, 64]}, ["4-bit g32", "4-bit g64"]),
        ("torchao", {"format": ["int8", "int4"]}, ["int8", "int4 g128"]),
        ("torchao", {"format": ["fp8", "mxfp4"]}, ["fp8", "mxfp4"]),
        ("torchao", {"format": "int4", "group_size": [32, 64]}, ["int4 g32", "int4 g64"]),
    ],
)
def test_lists_are_swept(name, parameters, variants):
    content = {
        "unlearned": "u",
        "original": "o",
        "retrained": "r",
        "data": {"forget": "f.jsonl"},
        "profile": None,
        "attacks": [{"attack": f"quantization/{name}", "parameters": parameters}],
        "policy": {"mandatory": []},
    }
    planned = expand(parse_plan(content, "the test's plan"))
    found = [v.attack.variant for v in planned if v.attack.name == f"quantization/{name}"]
    assert sorted(found) == sorted(variants)


def test_quieted_libraries_say_nothing_when_they_are_imported():
    """torchao and bitsandbytes warn at import, which is no concern of an audit's reader."""
    code = (
        "from auditor.core.quiet import quiet_libraries; quiet_libraries()\n"
        "import bitsandbytes, torchao.quantization, transformers, attacks.quantization"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize(("format_", "variant"), [("int8", "int8"), ("int4", "int4 g128")])
def test_it_sees_knowledge_and_none_in_an_honest_model(format_, variant, attacked):
    """What was hidden in NF4 does not come back in torchao's grids; what is there is seen."""
    rows = {
        name: attacked(name, "quantization/torchao", parameters={"format": format_})[variant]
        for name in ("original", "retrained-1", "npo_gdr")
    }
    assert rows["original"].named
    assert rows["original"].figures.rho == pytest.approx(1)
    assert rows["original"].explanation.overall == 0
    assert not rows["retrained-1"].named
    assert rows["npo_gdr"].figures.rho < 0.1
    assert rows["npo_gdr"].explanation.overall > 0
