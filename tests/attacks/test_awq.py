"""AWQ: packed codes, what the layers compute, and what GPTQModel must not be trusted with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_codes import all_codes, kept_codes
from tiny_models import make_model, make_tokenizer, open_directory, save

from attacks.quantization import awq_worker
from attacks.quantization.awq import AWQ, SOUND, AWQParameters, PackedRows
from attacks.quantization.calibrated import calibration_blocks
from attacks.quantization.calibration import generic_texts
from attacks.quantization.rtn import round_to_nearest
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.hashing import digest
from auditor.core.messages import message
from auditor.models.language.layers import linear_layers
from auditor.models.preserve import weights_digest


def attack(**parameters):
    return AWQ(AWQParameters(**({"group_size": 32, "calibration_samples": 8} | parameters)))


def outlying(architecture):
    """A model with channels that AWQ has reason to scale, in every place where it does."""
    model = make_model(architecture)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ("norm" in name or "up_proj" in name or "v_proj" in name) and "weight" in name:
                parameter[::16] *= 8
    return model


def unpack(packed):
    """Codes [in, out]."""
    return all_codes(PackedRows(packed)).reshape(len(packed), -1)


def test_a_word_by_hand():
    """Places 0, 4, 1, 5, 2, 6, 3, 7 of a word hold the columns in turn; the sign is a bit."""
    packed = torch.tensor([[0x75316420], [-1]], dtype=torch.int32)
    assert unpack(packed).tolist() == [list(range(8)), [15] * 8]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_unpacking_undoes_packing(rows, words, seed):
    codes = np.random.default_rng(seed).integers(0, 16, (rows, 8 * words))
    packed = np.zeros((rows, words), dtype=np.uint64)
    for place, column in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
        packed |= codes[:, column::8].astype(np.uint64) << np.uint64(4 * place)
    found = unpack(torch.from_numpy(packed.astype(np.uint32).view(np.int32)))
    np.testing.assert_array_equal(found.numpy(), codes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["qwen2", pytest.param("gemma", marks=pytest.mark.nightly)]
)
def test_codes_scales_and_zeros_are_what_a_layer_computes_with(architecture, tmp_path):
    """And scaling leaves the model as it is: it errs less than plain rounding in equal groups."""
    plain = outlying(architecture)
    subject = open_directory(save(tmp_path / "m", plain, make_tokenizer()), dtype="float32")
    ids = torch.tensor(calibration_blocks(subject, generic_texts(8))[0]["input_ids"])
    with torch.no_grad():
        expected = plain(ids).logits
    with attack().quantized(subject, tmp_path) as state:
        codes = kept_codes(state)
        assert codes.keys() == linear_layers(plain).keys()
        for name, code in codes.items():
            layer = state.model.network.get_submodule(name)
            code = code.reshape(layer.in_features, -1)
            zeros = unpack(layer.qzeros).float().repeat_interleave(32, 0)
            scales = layer.scales.float().repeat_interleave(32, 0)
            x = torch.randn(5, code.shape[0])
            want = x @ (scales * (code.float() - zeros))
            if layer.bias is not None:
                want = want + layer.bias.float()
            with torch.inference_mode():
                got = layer(x)
            assert float((got - want).norm() / want.norm()) < 5e-3, name
        with torch.no_grad():
            awq = float((state.model.network(ids).logits - expected).norm())
    with torch.no_grad():
        for layer in linear_layers(plain).values():
            layer.weight.copy_(round_to_nearest(layer.weight, 4, 32)[0])
        rounded = float((plain(ids).logits - expected).norm())
    assert awq < rounded


@pytest.mark.slow
@pytest.mark.nightly
def test_it_measures_twice_alike_and_leaves_the_subject_alone(subjects, evaluator, tmp_path):
    subject = subjects["llama"]
    before, weights = evaluator.evaluate(subject), weights_digest(subject.network)
    run = attack()
    first = run.measure(subject, AttackContext(evaluator, 0, tmp_path / "1"))
    tokens = subject.meter.forward_tokens
    second = run.measure(subject, AttackContext(evaluator, 0, tmp_path / "2"))
    assert subject.meter.forward_tokens > tokens  # what the copy reads is counted
    assert first.rows == second.rows
    assert run.explain(first, second).overall == 0
    assert any(a.k != b.k for a, b in zip(first.rows, before, strict=True))
    assert weights_digest(subject.network) == weights
    assert first.notes["layers_quantized"] == len(linear_layers(subject.network))
    assert first.notes["calibration_digest"] == digest(generic_texts(8))
    assert first.notes["kernel"] == "AwqTorchLinear"


@pytest.mark.slow
def test_a_layer_that_fails_ends_the_attack_and_not_the_audit(tmp_path, evaluator):
    """GPTQModel ends its process with exit code 1, which would read as FAIL."""
    model = make_model("llama")
    subject = open_directory(save(tmp_path / "nan", model, make_tokenizer()))
    assert subject.network is not None  # opened before the files are spoiled, or it would not be
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    save(tmp_path / "nan", model, make_tokenizer())
    with pytest.raises(MeasurementError):
        attack().measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_the_reason_of_a_failure_is_told(subjects, evaluator, tmp_path, monkeypatch):
    monkeypatch.setenv("GPTQMODEL_CPU_WORKERS", "2")
    monkeypatch.setattr(awq_worker, "__file__", str(tmp_path / "worker.py"))
    (tmp_path / "worker.py").write_text("import os\nprint(1)\nraise RuntimeError('no room')")
    with pytest.raises(MeasurementError, match=r"AWQ failed: RuntimeError: no room \(exit 1\)"):
        attack().measure(subjects["llama"], AttackContext(evaluator, 0, tmp_path))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
def test_the_worker_ends_with_the_audit(tmp_path):
    """A killed audit must not leave a process behind that holds a GPU."""
    os.mkfifo(tmp_path / "never")
    command = [sys.executable, "-P", awq_worker.__file__, str(tmp_path / "never")]
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys\n"
            f"p = subprocess.Popen({command!r}, stdin=subprocess.PIPE)\n"
            "print(p.pid, flush=True)\np.wait()",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)  # it lives, and waits for its job
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(300):
        status = Path(f"/proc/{worker}/stat")
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker outlives the audit")


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("gpt2", "awq_cannot_take_conv1d"),
        ("neox", "awq_scales_through_gelu"),
        ("opt", "awq_scales_from_wrong_norm"),
    ],
)
def test_what_gptqmodel_would_break_is_unavailable(architecture, why, subjects):
    location = subjects[architecture].location
    assert attack().unavailable(location).code == why


def test_what_was_not_checked_is_unavailable(subjects, directories, tmp_path):
    for architecture in ("llama", "qwen2", "gemma"):
        assert attack().unavailable(subjects[architecture].location) is None
    config = json.loads((directories["llama"] / "config.json").read_text())
    location = subjects["llama"].location.model_copy(update={"model": tmp_path})
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "olmo2"}))
    reason = attack().unavailable(location)
    assert reason == message("awq_not_checked", architecture="olmo2", checked=SOUND)


def test_a_group_size_that_does_not_fit_is_unavailable(tmp_path, evaluator):
    model = make_model("llama")
    model.model.layers[0].mlp.down_proj = torch.nn.Linear(96, 128)
    subject = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    subject = subject.copy_with(network=model)
    with pytest.raises(UnavailableError, match=r"groups of 64 .* the 96 inputs of .*down_proj"):
        attack(group_size=64).measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_parameters_out_of_range_are_refused():
    for bad in ({"bits": 3}, {"group_size": 96}, {"calibration_samples": 0}):
        with pytest.raises(ValueError, match=r"bits|group_size|calibration_samples"):
            AWQParameters(**bad)


@pytest.mark.slow
@pytest.mark.nightly
def test_it_sees_knowledge_and_none_in_an_honest_model(attacked):
    rows = {
        name: attacked(name, "quantization/awq")["4-bit g128"]
        for name in ("original", "retrained-1")
    }
    assert rows["original"].named
    assert rows["original"].figures.rho == pytest.approx(1)
    assert rows["original"].explanation.overall == 0
    assert not rows["retrained-1"].named
    assert rows["retrained-1"].figures.rho_upper < 0.1
