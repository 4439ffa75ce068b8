"""bitsandbytes: what it rounded, read back by hand."""

import bitsandbytes as bnb
import numpy as np
import pytest
import torch
from bitsandbytes import functional
from kept_codes import all_codes, kept_codes, signed
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, MixtralConfig
from transformers.pytorch_utils import Conv1D

from attacks.quantization.bnb import BitsAndBytes, BitsAndBytesParameters, Nibbles, nibbles
from attacks.quantization.family import assert_quantized
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError
from auditor.core.messages import message
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.layers import linear_layers
from auditor.models.opening import locate
from auditor.models.preserve import weights_digest

FORMATS = ("int8", "nf4", "fp4", "nf4-double")


def attack(format_):
    return BitsAndBytes(BitsAndBytesParameters(format=format_))


def plain_weights(model):
    """[out, in] of every layer that should be quantized."""
    return {
        name: (layer.weight.T if isinstance(layer, Conv1D) else layer.weight).detach().contiguous()
        for name, layer in linear_layers(model).items()
    }


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_format_on_every_architecture(architecture, format_, subjects, evaluator, tmp_path):
    subject = subjects[architecture]
    before, digest = evaluator.evaluate(subject), weights_digest(subject.network)
    plain = plain_weights(subject.network)
    run = attack(format_)
    with run.quantized(subject, tmp_path) as state:
        layers = assert_quantized(
            state.model,
            bnb.nn.Linear8bitLt if format_ == "int8" else bnb.nn.Linear4bit,
        )
        assert layers.keys() == plain.keys()
        for name, codes in kept_codes(state).items():
            assert codes.numel() == plain[name].numel()
    record = run.measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert record.notes["layers_quantized"] == len(plain)
    change = [abs(a.k / b.k - 1) for a, b in zip(record.rows, before, strict=True)]
    assert 0 < max(change) < (0.3 if format_ == "int8" else 5)
    assert weights_digest(subject.network) == digest
    assert run.measure(subject, AttackContext(evaluator, 0, tmp_path)).rows == record.rows
    assert run.explain(record, record).overall == 0


@pytest.mark.parametrize("format_", ["nf4", "fp4"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_codes_are_the_nearest_of_sixteen_values(format_, architecture, subjects, tmp_path):
    """Blocks of 64 in row order, each divided by its largest magnitude (arXiv 2305.14314)."""
    subject = subjects[architecture]
    plain = plain_weights(subject.network)
    values = functional.get_4bit_type(format_, device="cpu").numpy()
    assert len(values) == 16
    with attack(format_).quantized(subject, tmp_path) as state:
        layers = dict(state.model.network.named_modules())
        for name, codes in kept_codes(state).items():
            packed, _ = functional.quantize_4bit(
                plain[name], blocksize=64, quant_type=format_, quant_storage=torch.uint8
            )
            assert torch.equal(layers[name].weight.data.reshape(-1), packed.reshape(-1)), name
            blocks = plain[name].numpy().reshape(-1, 64)
            scaled = blocks / np.abs(blocks).max(1, keepdims=True)
            chosen = values[codes.numpy().reshape(-1, 64)]
            nearest = np.abs(scaled[..., None] - values).min(-1)
            np.testing.assert_allclose(np.abs(scaled - chosen), nearest, atol=2e-3)
            state_of = layers[name].weight.quant_state
            np.testing.assert_allclose(  # and they are what the layer computes with
                functional.dequantize_4bit(layers[name].weight.data, state_of)
                .numpy()
                .reshape(-1, 64),
                chosen * np.abs(blocks).max(1, keepdims=True),
                atol=1e-5,
            )


def test_int8_codes_are_rows_over_127(subjects, tmp_path):
    """LLM.int8(): each output row times 127 over its largest magnitude (arXiv 2208.07339)."""
    subject = subjects["llama"]
    plain = plain_weights(subject.network)
    with attack("int8").quantized(subject, tmp_path) as state:
        for name, codes in kept_codes(state).items():
            weight = plain[name].half().float()  # what bitsandbytes rounds
            expected = weight * 127 / weight.abs().amax(1, keepdim=True)
            assert float((signed(codes).view_as(weight) - expected).abs().max()) <= 0.501, name


def test_nibbles_are_read_high_one_first():
    packed = torch.tensor([[0x12], [0xF0]], dtype=torch.uint8)
    assert nibbles(packed).reshape(-1).tolist() == [1, 2, 15, 0]
    assert all_codes(Nibbles(packed)).tolist() == [1, 2, 15, 0]
    assert Nibbles(packed).take(torch.tensor([3, 1])).tolist() == [0, 2]


def test_two_models_that_differ_a_little_share_most_codes(tmp_path, evaluator):
    """A change of every weight by 1e-6 of its size flips almost nothing in four bits."""
    model, records = make_model("llama"), []
    for factor in (0.0, 1e-6, 0.3):
        torch.manual_seed(1)
        other = make_model("llama")
        with torch.no_grad():
            for a, b in zip(other.parameters(), model.parameters(), strict=True):
                a.copy_(b * (1 + factor * torch.randn_like(b)))
        folder = save(tmp_path / str(factor), other, make_tokenizer())
        records.append(
            attack("nf4").measure(open_directory(folder), AttackContext(evaluator, 0, tmp_path))
        )
    share = [attack("nf4").explain(record, records[0]).overall for record in records]
    assert share[0] == 0
    assert share[1] < 1e-4
    assert share[2] > 0.3


def test_a_loader_that_quantizes_nothing_is_found_out(subjects):
    for expected in (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt):
        with pytest.raises(MeasurementError, match=r"0 layers are of class .* 14 are not"):
            assert_quantized(subjects["llama"], expected)


def test_a_loader_that_leaves_one_layer_out_is_found_out(directories):
    config = BitsAndBytesConfig(
        load_in_4bit=True, llm_int8_skip_modules=["lm_head", "model.layers.1.mlp.down_proj"]
    )
    network = AutoModelForCausalLM.from_pretrained(directories["llama"], quantization_config=config)
    model = open_directory(directories["llama"]).copy_with(network=network)
    with pytest.raises(MeasurementError, match=r"1 are not .*layers\.1\.mlp\.down_proj"):
        assert_quantized(model, bnb.nn.Linear4bit)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("how_many", ["one", "all"])
def test_not_a_number_is_never_a_row(format_, how_many, tmp_path, evaluator):
    model = make_model("llama")
    weight = model.model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        if how_many == "one":
            weight[3, 5] = float("nan")
        else:
            weight.fill_(float("nan"))
    subject = open_directory(save(tmp_path / "nan", model, make_tokenizer()))
    with pytest.raises(MeasurementError):
        attack(format_).measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_a_quantized_checkpoint_is_not_quantized_again(directories, tmp_path):
    config = BitsAndBytesConfig(load_in_4bit=True)
    model = AutoModelForCausalLM.from_pretrained(directories["llama"], quantization_config=config)
    folder = save(tmp_path / "four", model, make_tokenizer())
    reason = attack("nf4").unavailable(locate(CausalLMSpec(path=str(folder))))
    assert reason == message("quantized_already", method="bitsandbytes")
    assert attack("nf4").unavailable(locate(CausalLMSpec(path=str(directories["llama"])))) is None


def test_merged_adapter_weights_are_what_is_quantized(directories, evaluator, tmp_path):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    adapter = tmp_path / "adapter"
    settings = LoraConfig(
        r=4, lora_alpha=32, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    get_peft_model(make_model("llama"), settings).save_pretrained(adapter)
    subject = open_directory(directories["llama"], adapter=str(adapter))
    plain = plain_weights(subject.network)
    with attack("nf4").quantized(subject, tmp_path / "scratch") as state:
        for name, codes in kept_codes(state).items():
            packed, _ = functional.quantize_4bit(plain[name], blocksize=64, quant_type="nf4")
            assert torch.equal(codes.reshape(-1), nibbles(packed).reshape(-1)), name
    with_adapter = attack("nf4").measure(subject, AttackContext(evaluator, 0, tmp_path / "scratch"))
    without = attack("nf4").measure(
        open_directory(directories["llama"]), AttackContext(evaluator, 0, tmp_path)
    )
    share = attack("nf4").explain(with_adapter, without)
    assert share.layers["model.layers.0.self_attn.q_proj"] > 0.3
    assert share.layers["model.layers.0.self_attn.k_proj"] == 0


def test_experts_outside_linear_layers_are_not_passed_off_as_quantized(tmp_path):
    tokenizer = make_tokenizer()
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=64,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    subject = open_directory(tmp_path / "moe")
    with (
        pytest.raises(MeasurementError, match="stay at full precision"),
        attack("nf4").quantized(subject, tmp_path),
    ):
        pass
