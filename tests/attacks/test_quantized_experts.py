"""Stacked experts are rounded one by one, as a linear layer of each would be."""

import bitsandbytes.functional as library
import numpy as np
import pytest
import torch
from kept_codes import kept_codes
from tiny_mixtures import EXPERTS, MIXTURES, make_mixture
from tiny_models import make_model, make_tokenizer, open_directory, save
from torch import nn

from attacks.none.as_is import AsIs
from attacks.quantization.awq import AWQ, AWQParameters
from attacks.quantization.bnb import BitsAndBytes, BitsAndBytesParameters
from attacks.quantization.gptq import GPTQ, GPTQParameters
from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters, round_to_nearest
from attacks.quantization.torchao_formats import TorchAO, TorchAOParameters
from auditor.attack import ATTACKS, AttackContext, Parameters
from auditor.core.errors import MeasurementError
from auditor.engine.expansion import replaced_levels
from auditor.models.kind import kind_named
from auditor.models.language import experts as stacks
from auditor.models.language.experts import stacked_experts
from auditor.models.language.layers import linear_layers
from auditor.models.preserve import weights_digest

WIDTH, INSIDE = 64, 96
OTHERS = {
    "bnb": BitsAndBytes(BitsAndBytesParameters()),
    "gptq": GPTQ(GPTQParameters()),
    "awq": AWQ(AWQParameters()),
    "torchao": TorchAO(TorchAOParameters()),
}


def attack(**parameters):
    return RoundToNearest(RoundToNearestParameters(**parameters))


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixtures")
    return {f: save(root / f, make_mixture(f), make_tokenizer()) for f in MIXTURES}


def expected_matrices(form, network):
    """Each expert's matrices [out, in], by the published forms of these models."""
    for layer in range(2):
        mlp = network.model.layers[layer].mlp
        held = mlp.experts
        sides = {"gate_up_proj": (2 * INSIDE, WIDTH), "down_proj": (WIDTH, INSIDE)}
        for name, (out, inputs) in sides.items():
            for number in range(EXPERTS):
                matrix = getattr(held, name)[number].detach().clone()
                matrix = matrix.T if form == "gpt-oss" else matrix
                assert matrix.shape == (out, inputs)
                yield f"model.layers.{layer}.mlp.experts.{name}", number, matrix


@pytest.mark.parametrize("form", MIXTURES)
@pytest.mark.parametrize(
    "parameters", [{"bits": 4}, {"bits": 3, "group_size": 32}, {"levels": "nf4"}, {"levels": "fp4"}]
)
def test_every_expert_is_rounded_as_its_own_layer_would_be(form, parameters, mixtures, tmp_path):
    subject = open_directory(mixtures[form])
    digest = weights_digest(subject.network)
    plain = [*expected_matrices(form, subject.network)]
    assert len(plain) == 2 * 2 * EXPERTS
    run = attack(**parameters)
    with run.quantized(subject, tmp_path) as state:
        codes = kept_codes(state)
        now = [*expected_matrices(form, state.model.network)]
        for (name, number, before), (_, _, after) in zip(plain, now, strict=True):
            if "levels" in parameters:
                flat = before.reshape(-1)  # rows of 96 are not read back otherwise on a CPU
                packed, scales = library.quantize_4bit(
                    flat, quant_type=parameters["levels"], blocksize=64
                )
                wanted = library.dequantize_4bit(packed, scales).reshape(before.shape)
                count = 16
            else:
                wanted, _ = round_to_nearest(
                    before, parameters["bits"], parameters.get("group_size")
                )
                count = 2 ** parameters["bits"]
            torch.testing.assert_close(after, wanted, rtol=1e-6, atol=1e-7)
            assert not after.equal(before)
            assert 4 < len(codes[name].reshape(EXPERTS, -1)[number].unique()) <= count
        assert codes.keys() == linear_layers(subject.network).keys() | {n for n, _, _ in plain}
        assert state.notes["experts_rounded"] == 2 * 2 * EXPERTS
    assert weights_digest(subject.network) == digest


@pytest.mark.parametrize("levels", ["nf4", "fp4"])
def test_a_code_book_rounds_dense_layers_as_bitsandbytes_does(levels, tmp_path):
    subject = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    plain = {n: m.weight.detach().clone() for n, m in linear_layers(subject.network).items()}
    with attack(levels=levels).quantized(subject, tmp_path) as state:
        for name, layer in linear_layers(state.model.network).items():
            packed, scales = library.quantize_4bit(plain[name], quant_type=levels, blocksize=64)
            wanted = library.dequantize_4bit(packed, scales)
            torch.testing.assert_close(layer.weight.detach(), wanted, rtol=1e-6, atol=1e-7)
        assert "experts_rounded" not in state.notes


def test_a_code_book_has_four_bits_and_blocks_of_its_own():
    for wrong in ({"bits": 3}, {"group_size": 128}):
        with pytest.raises(ValueError, match="blocks of its own"):
            RoundToNearestParameters(levels="nf4", **wrong)


@pytest.mark.parametrize("form", MIXTURES)
def test_what_does_not_round_experts_is_known_from_the_configuration_alone(form, mixtures):
    subject = open_directory(mixtures[form])
    assert kind_named("causal-lm").holds_experts(subject.spec, subject.location)
    for name, other in OTHERS.items():
        reason = other.unavailable(subject.location)
        assert reason is not None, name
        assert reason.code == "experts_not_rounded", name
    assert attack().unavailable(subject.location) is None
    assert subject._network is None


def test_a_mixture_notes_that_it_is_one(mixtures, evaluator, tmp_path):
    context = AttackContext(evaluator, 0, tmp_path)
    assert AsIs(Parameters()).measure(open_directory(mixtures["mixtral"]), context).notes == {
        "experts": True
    }
    dense = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    assert AsIs(Parameters()).measure(dense, context).notes == {}
    assert not kind_named("causal-lm").holds_experts(dense.spec, dense.location)


def test_every_level_that_stands_in_is_one_that_rounds_experts_to_as_many_bits():
    levels = replaced_levels(entities=True, experts=True)
    rtn = {preset.name: preset for preset in ATTACKS.metadata("quantization/rtn").presets}
    assert {label.partition(" ")[0] for label in levels} == {
        f"quantization/{name}" for name in OTHERS
    }
    bits = {"int8": 8, "nf4": 4, "nf4-double": 4, "fp4": 4, "int4 g128": 4}
    bits |= {"int8-dynamic": 8, "fp8": 8, "fp8-dynamic": 8, "nvfp4": 4, "mxfp4": 4}
    for label, instead in levels.items():
        name, _, variant = instead.partition(" ")
        assert name == "quantization/rtn"
        level = label.partition(" ")[2]
        wanted = bits.get(level) or int(level[0])
        parameters = rtn[variant].parameters
        assert parameters.get("bits", 4) == wanted, label
        book = next((name for name in ("nf4", "fp4") if name in level), "even")
        assert parameters.get("levels", "even") == book, label


def test_experts_that_cannot_be_told_are_not_passed_off_as_rounded(mixtures, tmp_path, monkeypatch):
    subject = open_directory(mixtures["mixtral"])
    monkeypatch.setattr("attacks.quantization.rtn.stacked_experts", lambda network: [])
    with (
        pytest.raises(MeasurementError, match="stay at full precision"),
        attack().quantized(subject, tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "rows", "columns", "transposed"),
    [
        ("gate_up_proj", WIDTH, 2 * INSIDE, True),
        ("gate_up_proj", 2 * INSIDE, WIDTH, False),
        ("down_proj", INSIDE, WIDTH, True),
        ("down_proj", WIDTH, INSIDE, False),
        ("weight", 2 * INSIDE, WIDTH, False),
    ],
)
def test_the_sides_tell_how_experts_are_stacked_where_nothing_else_does(
    name, rows, columns, transposed
):
    module = nn.Module()
    module.register_parameter(name, nn.Parameter(torch.zeros(EXPERTS, rows, columns)))
    (parameter,) = module.parameters()
    assert stacks._is_transposed(module, name, parameter, WIDTH) is transposed


def test_what_is_no_expert_is_no_stack():
    """Convolutions of Mamba have three dimensions, too."""
    network = make_mixture("mixtral")
    assert len(stacked_experts(network)) == 4
    network.model.layers[0].conv = nn.Conv1d(8, 8, 4, groups=8)
    assert len(stacked_experts(network)) == 4
    assert np.prod([len(s.parameter) for s in stacked_experts(network)]) == EXPERTS**4
