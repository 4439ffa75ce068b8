"""GGUF: what llama.cpp writes, to the last bit.

`llama_cpp_files.json` was written by another build than the attack calls: `llama_model_quantize`
and `ggml_quantize_chunk` of llama.cpp 0ce8cd11 (libraries of the package llama-cpp-py-sync 0.11739)
on float32 files of Llama and Mixtral networks, and on the matrix of `matrix()`.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_mixtures import MIXTURES, make_mixture
from tiny_models import make_config, make_model, make_tokenizer, open_directory, save
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig

from attacks.quantization.gguf import GGUF, GGUFParameters, _matrices, _shape
from attacks.quantization.gguf_types import FileShape, tensor_types
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.models.language.experts import stacked_experts
from auditor.models.language.layers import linear_layers
from auditor.models.preserve import weights_digest

gguf = pytest.importorskip("gguf", reason="gguf is not installed: pip install gguf")
pytest.importorskip("xllamacpp", reason="xllamacpp is not installed: pip install xllamacpp")
ggml = pytest.importorskip("attacks.quantization.ggml")

WRITTEN = json.loads(Path(__file__).with_name("llama_cpp_files.json").read_text())
LEVELS = ("q4_k_m", "q5_k_m", "q3_k_m", "q2_k", "q8_0", "iq4_nl")
ERRORS = {"q8_0": 0.01, "q5_k_m": 0.06, "q4_k_m": 0.11, "iq4_nl": 0.11, "q3_k_m": 0.2, "q2_k": 0.4}
"""Level to the largest relative error of a matrix, and more than that of the level before."""


def matrix():
    return (np.random.RandomState(0).standard_normal((16, 512)) * 0.02).astype(np.float32)


def attack(level):
    return GGUF(GGUFParameters(level=level))


@pytest.mark.parametrize("type_", WRITTEN["digests"])
def test_bytes_are_those_of_ggml_to_the_last_bit(type_):
    packed = ggml.pack(matrix(), type_)
    assert hashlib.sha256(packed.tobytes()).hexdigest() == WRITTEN["digests"][type_]


@pytest.mark.parametrize("type_", WRITTEN["digests"])
def test_weights_are_those_that_the_package_gguf_reads(type_):
    got = ggml.rounded(torch.from_numpy(matrix()), type_)
    packed = ggml.pack(matrix(), type_)
    number = gguf.GGMLQuantizationType[type_]
    np.testing.assert_array_equal(got.weights, gguf.dequantize(packed, number))
    assert got.size == packed.nbytes
    assert 0 < np.abs(got.weights - matrix()).max() < 0.03


def network(said):
    """The network without memory that a file was written of, by the words of its shape."""
    width, heads, grouped, layers, experts = (int(x) for x in said.split() if x.isdigit())
    common = {
        "vocab_size": 400, "hidden_size": width, "intermediate_size": width,
        "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": grouped,
    }  # fmt: skip
    mixture = experts > 1
    config = (
        MixtralConfig(**common, num_local_experts=experts) if mixture else LlamaConfig(**common)
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("said", [s.replace(",", "") for s in WRITTEN["types"]])
def test_types_are_those_of_files_that_llama_cpp_wrote(said, level):
    form = network(said)
    written = next(v for k, v in WRITTEN["types"].items() if k.replace(",", "") == said)[level]
    columns = {name: part.views[0].shape[1] for name, part in _matrices(form).items()}
    types = tensor_types(level, columns, _shape(form))
    wanted = {f"{name}.weight": type_ for type_, names in written.items() for name in names}
    split = {name: t for name, t in wanted.items() if "ffn_up_exps" not in name}
    assert {name: type_ for name, type_ in types.items() if type_} == split
    for name, type_ in wanted.items():  # gates and ups of experts, which a network holds as one
        assert types[name.replace("ffn_up_exps", "ffn_gate_exps")] == type_


def test_rules_that_need_a_large_model():
    values = {f"blk.{i}.attn_v.weight": 8192 for i in range(80)}
    seventy = tensor_types("q3_k_m", values, FileShape("llama", 80, 1, 8))
    assert set(seventy.values()) == {"Q5_K"}
    other = tensor_types("q3_k_m", values, FileShape("llama", 80, 1, 1))
    assert [*other.values()].count("Q4_K") == 78


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "qwen2", "gemma"])
def test_a_level_on_five_architectures(architecture, subjects, evaluator, tmp_path):
    subject = subjects[architecture]
    before, digest = evaluator.evaluate(subject), weights_digest(subject.network)
    run = attack("q4_k_m")
    assert run.unavailable(subject.location) is None
    record = run.measure(subject, AttackContext(evaluator, 0, tmp_path))
    change = [abs(a.k / b.k - 1) for a, b in zip(record.rows, before, strict=True)]
    assert 0 < max(change) < 2
    assert record.notes["layers_quantized"] > len(linear_layers(subject.network))
    assert 5 < record.notes["bits_a_weight"] < 8.6  # rows of 128: the older types
    assert weights_digest(subject.network) == digest
    assert run.measure(subject, AttackContext(evaluator, 0, tmp_path)).rows == record.rows


@pytest.mark.parametrize("level", LEVELS)
def test_every_matrix_is_what_its_file_holds(level, tmp_path):
    """Read back by the package gguf from bytes that ggml writes of the plain matrix."""
    config = make_config("llama")
    config.hidden_size = config.intermediate_size = 256
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    subject = open_directory(save(tmp_path / "m", model, make_tokenizer()), dtype="float32")
    plain = {n: p.views[0].numpy().copy() for n, p in _matrices(subject.network).items()}
    types = tensor_types(level, {n: x.shape[1] for n, x in plain.items()}, _shape(subject.network))
    with attack(level).quantized(subject, tmp_path) as state:
        held = _matrices(state.model.network)
        for name, type_ in types.items():
            number = gguf.GGMLQuantizationType[type_]
            wanted = gguf.dequantize(ggml.pack(plain[name], type_), number)
            now = held[name].views[0].numpy()
            np.testing.assert_array_equal(now, wanted)
            assert 0 < np.linalg.norm(now - plain[name]) / np.linalg.norm(now) < ERRORS[level]
        assert sum(state.notes["types"].values()) == len(types) == state.notes["layers_quantized"]


def test_a_model_that_nobody_opened_yet_is_rounded(tmp_path, evaluator):
    folder = save(tmp_path / "m", make_model("llama"), make_tokenizer())
    found = [
        attack("q4_k_m").measure(open_directory(folder), AttackContext(evaluator, 0, tmp_path))
        for _ in range(2)
    ]
    opened = open_directory(folder)
    assert opened.network is opened.form
    wanted = attack("q4_k_m").measure(opened, AttackContext(evaluator, 0, tmp_path))
    assert [record.rows for record in found] == [wanted.rows] * 2


@pytest.mark.parametrize("form", sorted(set(MIXTURES) - {"gpt-oss"}))
def test_every_expert_is_rounded_and_no_router_is(form, tmp_path, evaluator):
    subject = open_directory(save(tmp_path / "m", make_mixture(form), make_tokenizer()))
    if attack("q8_0").unavailable(subject.location):
        pytest.skip("its form in a GGUF file is not known here")
    plain = {n: p.detach().clone() for n, p in subject.network.named_parameters()}
    with attack("q8_0").quantized(subject, tmp_path) as state:
        now = {n: p.detach() for n, p in state.model.network.named_parameters()}
        experts = {stack.name for stack in stacked_experts(state.model.network)}
        assert experts
        for name in experts:
            for before, after in zip(plain[name], now[name], strict=True):
                assert 0 < float((before - after).norm() / before.norm()) < 0.02
        routers = [n for n in now if n.endswith("mlp.gate.weight")]
        assert routers
        assert all(torch.equal(plain[name], now[name]) for name in routers)


def test_what_no_file_can_hold_is_never_measured(subjects):
    assert attack("q4_k_m").unavailable(subjects["opt"].location).params == {"model_type": "opt"}
    for value in (float("nan"), 3e38):
        weights = torch.from_numpy(matrix())
        weights[3, 5] = value
        with pytest.raises(MeasurementError, match="not finite"):
            ggml.rounded(weights, "Q4_K")
    with pytest.raises(UnavailableError, match="writes no file"):
        tensor_types("q8_0", {"blk.0.ffn_up.weight": 72}, FileShape("llama", 1, 1, 1))
    narrow = tensor_types("q4_k_m", {"blk.0.ffn_up.weight": 72}, FileShape("llama", 1, 1, 1))
    assert narrow == {"blk.0.ffn_up.weight": "F16"}


def test_a_library_that_means_other_types_is_found_out(monkeypatch):
    monkeypatch.setattr(ggml, "_number", lambda type_: 12)  # Q4_K
    with pytest.raises(MeasurementError, match="do not fit"):
        ggml.pack(matrix(), "Q5_K")
    packed = ggml.pack(matrix(), "Q4_K")
    monkeypatch.setattr(gguf, "dequantize", lambda packed, number: np.zeros((1, 512), np.float32))
    with pytest.raises(MeasurementError, match="different weights"):
        ggml.unpack(packed, "Q4_K", 512)
