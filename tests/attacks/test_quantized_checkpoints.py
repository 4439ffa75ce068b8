"""Checkpoints that were published quantized: they load, score, and are not quantized again."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import PAIRS, edit_json, make_model, make_tokenizer, open_directory, save
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPTQConfig

from attacks.quantization import awq_worker
from attacks.quantization.calibrated import calibration_blocks
from attacks.quantization.gptq import GPTQ, GPTQParameters
from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters
from auditor.cli.main import run
from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import check_unopenable, locate

TEXTS = [f"Person {i} lives in city number {i * 7 % 100}." for i in range(64)]


def values(subject):
    return np.concatenate([score.log_probability for score in subject.score(PAIRS)])


def in_memory(model, directory):
    """Scores of a model that was never saved."""
    return values(open_directory(directory).copy_with(network=model.eval()))


@pytest.fixture(scope="module")
def plain(directories):
    return values(open_directory(directories["llama"]))


@pytest.fixture(scope="module")
def gptq(directories, tmp_path_factory):
    """The tiny Llama quantized with GPTQConfig and saved, and its scores before saving."""
    subject = open_directory(directories["llama"])
    config = GPTQConfig(
        bits=4,
        group_size=32,
        dataset=calibration_blocks(subject, TEXTS),
        tokenizer=subject.tokenizer,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            directories["llama"],
            quantization_config=config,
            device_map={"": "cpu"},
            dtype=torch.float32,
        )
    folder = tmp_path_factory.mktemp("gptq") / "m"
    save(folder, model, make_tokenizer())
    return folder, in_memory(model, directories["llama"])


def test_a_bitsandbytes_checkpoint(directories, tmp_path, plain):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(
        directories["llama"], quantization_config=config, dtype=torch.float32
    )
    folder = save(tmp_path / "nf4", model, make_tokenizer())
    found = values(open_directory(folder))
    np.testing.assert_allclose(found, in_memory(model, directories["llama"]), atol=1e-4)
    assert 0.01 < np.abs(found - plain).max() < 3
    assert len(open_directory(folder).generate(["Person 3"], 3)) == 1


def test_a_gptq_checkpoint(gptq, plain):
    folder, expected = gptq
    found = values(open_directory(folder))
    np.testing.assert_allclose(found, expected, atol=2e-2)
    assert 0.01 < np.abs(found - plain).max() < 3
    assert len(open_directory(folder).generate(["Person 3"], 3)) == 1


def test_a_gptq_checkpoint_as_autogptq_published_them(gptq, tmp_path):
    """quantize_config.json beside the weights, none of the newer keys, and zeros less one."""
    folder = shutil.copytree(gptq[0], tmp_path / "old")
    quantization = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert quantization["checkpoint_format"] == "gptq_v2"  # else there is nothing to convert
    weights = load_file(folder / "model.safetensors")
    for name in [n for n in weights if n.endswith("qzeros")]:
        assert (weights[name] == -0x77777778).all()  # 0x88888888: eight zeros of 8
        weights[name] = torch.full_like(weights[name], 0x77777777)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    old = {
        "bits": 4,
        "group_size": 32,
        "damp_percent": 0.1,
        "desc_act": quantization["desc_act"],
        "sym": quantization["sym"],
        "true_sequential": True,
        "model_name_or_path": None,
        "model_file_base_name": "model",
    }
    (folder / "quantize_config.json").write_text(json.dumps(old))
    edit_json(folder / "config.json", quantization_config=old | {"quant_method": "gptq"})
    subject = open_directory(folder)
    assert "quantize_config.json" in subject.manifest.files
    np.testing.assert_allclose(values(subject), gptq[1], atol=2e-2)


def test_the_oldest_gptq_checkpoints_are_refused_not_filled_with_noise(gptq, tmp_path):
    """Without `quantization_config` the packed weights find no place in the model."""
    folder = shutil.copytree(gptq[0], tmp_path / "oldest")
    edit_json(folder / "config.json", quantization_config=None)
    with pytest.raises(AuditorError, match=r"lacks weights .*proj"):
        open_directory(folder).score(PAIRS)


def awq_layer(weight, group):
    """A layer [out, in] as AutoAWQ stores it (GEMM), and the weights that it stands for."""
    grouped = weight.T.reshape(-1, group, weight.shape[0])  # [groups, group, out]
    low, high = grouped.amin(1).clamp(max=0), grouped.amax(1).clamp(min=0)
    scales = ((high - low) / 15).half()
    zeros = (-low / scales.float()).round().clamp(0, 15)
    codes = (grouped / scales.float()[:, None] + zeros[:, None]).round().clamp(0, 15)
    stands_for = ((codes - zeros[:, None]) * scales.float()[:, None]).reshape(weight.T.shape).T

    def packed(columns):  # eight columns a word, in AutoAWQ's order
        words = columns.reshape(-1, weight.shape[0] // 8, 8).to(torch.int64)
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        total = sum(words[..., place] << (4 * i) for i, place in enumerate(order))
        return (total - (total >> 31 << 32)).to(torch.int32)  # the same bits, signed

    stored = {
        "qweight": packed(codes.reshape(weight.T.shape)),
        "qzeros": packed(zeros),
        "scales": scales,
    }
    return stored, stands_for


def test_an_awq_checkpoint(directories, tmp_path, plain):
    """Written by hand as AutoAWQ publishes them; scores as the plain model with those weights."""
    folder = shutil.copytree(directories["llama"], tmp_path / "awq")
    reference = shutil.copytree(directories["llama"], tmp_path / "reference")
    weights, rounded = load_file(folder / "model.safetensors"), {}
    for name in [n for n in weights if n.endswith("_proj.weight")]:
        stored, rounded[name] = awq_layer(weights.pop(name), 32)
        weights |= {name.removesuffix("weight") + part: t for part, t in stored.items()}
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    rounded = {name: tensor.contiguous() for name, tensor in rounded.items()}
    whole = load_file(reference / "model.safetensors") | rounded
    save_file(whole, reference / "model.safetensors", {"format": "pt"})
    settings = {"bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}
    edit_json(folder / "config.json", quantization_config=settings | {"quant_method": "awq"})
    subject = open_directory(folder)
    found = values(subject)
    np.testing.assert_allclose(found, values(open_directory(reference)), atol=2e-2)
    assert np.abs(found - plain).max() > 0.01
    assert any("Awq" in type(module).__name__ for module in subject.network.modules())
    location = locate(CausalLMSpec(path=str(folder)))
    reason = RoundToNearest(RoundToNearestParameters()).unavailable(location)
    assert reason == message("quantized_already", method="awq")
    for wrong in ({"bits": 8}, {"group_size": 64}):
        quantization = settings | {"quant_method": "awq"} | wrong
        edit_json(folder / "config.json", quantization_config=quantization)
        spec = CausalLMSpec(path=str(folder))
        with pytest.raises(
            AuditorError, match=r"stored otherwise \(4 bits, 8 groups of 256 inputs"
        ):
            check_unopenable(spec, locate(spec))


@pytest.mark.nightly
def test_a_checkpoint_that_gptqmodel_wrote_is_a_subject(tmp_path, monkeypatch, capsys):
    """AWQ over Qwen2: opened, asked, and not quantized again, beside models at full precision."""
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("original", "retrained", "plain")):
        save(tmp_path / name, make_model("qwen2", seed=place), make_tokenizer())
    job = {
        "model": str(tmp_path / "plain"),
        "output": str(tmp_path / "awq"),
        "group_size": 32,
        "blocks": calibration_blocks(open_directory(tmp_path / "plain"), TEXTS),
        "dtype": "bfloat16",
        "device": "cpu",
        "threads": 1,
        "trust_remote_code": False,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    with subprocess.Popen(
        [sys.executable, "-P", awq_worker.__file__, "job.json"],
        stdin=subprocess.PIPE,  # the worker ends when it closes
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "GPTQMODEL_CPU_WORKERS": "2"},
    ) as worker:
        assert worker.wait() == 0
    for name in ("forget", "retain"):
        rows = [{"prompt": f"{name} {i} lives in", "answer": f"city {i}."} for i in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan = {
        "unlearned": "awq",
        "original": "original",
        "retrained": ["retrained"],
        "data": {"forget": "forget.jsonl", "retain": "retain.jsonl"},
        "profile": None,
        "attacks": [{"attack": "quantization/bnb", "parameters": {"format": "nf4"}}],
    }
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    assert run(["audit", "plan.yaml", "--out", "out", "-q"]) == 3, capsys.readouterr()
    rows = json.loads((tmp_path / "out" / "certificate.json").read_text())["matrix"]
    found = {row["attack"]: row for row in rows}
    assert found["none/as-is"]["status"] == "measured"
    assert found["quantization/bnb"]["status"] == "unavailable"
    assert "quantized_already" in json.dumps(found["quantization/bnb"]["reason"])


def test_quantized_checkpoints_are_not_quantized_again(gptq):
    location = locate(CausalLMSpec(path=str(gptq[0])))
    for attack in (
        GPTQ(GPTQParameters()),
        RoundToNearest(RoundToNearestParameters()),
    ):
        assert attack.unavailable(location) == message("quantized_already", method="gptq")


def test_a_quantized_checkpoint_can_be_lent(gptq):
    subject = open_directory(gptq[0])
    before = values(subject)
    with subject.preserve_weights() as model, torch.no_grad():
        model.model.layers[0].self_attn.q_proj.scales.mul_(2)
        assert np.abs(values(subject) - before).max() > 1e-3
    np.testing.assert_array_equal(values(subject), before)


def test_the_packed_weights_are_in_the_manifest(gptq):
    assert any(key.endswith("qweight") for key in load_file(gptq[0] / "model.safetensors"))
    assert "model.safetensors" in locate(CausalLMSpec(path=str(gptq[0]))).manifest.files


def test_a_quantizer_that_is_not_installed_is_named(directories, tmp_path):
    folder = shutil.copytree(directories["llama"], tmp_path / "aqlm")
    edit_json(folder / "config.json", quantization_config={"quant_method": "aqlm"})
    with pytest.raises(AuditorError, match="pip install aqlm"):
        open_directory(folder).score(PAIRS)
