import pytest
import torch
from transformers import AutoModelForCausalLM

from auditor.models.language.layers import linear_layers
from auditor.testbeds.lineage import codes, store_in_4bit, through_4bit


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config, dtype=torch.float32)


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_dequantized_weights_give_their_codes_again_even_after_bf16(model, quant_type):
    store_in_4bit(model, quant_type)
    for name, module in linear_layers(model).items():
        before = codes(module.weight, quant_type)
        assert torch.equal(codes(module.weight.to(torch.bfloat16), quant_type), before), name


def test_storing_twice_changes_nothing_more(model):
    store_in_4bit(model)
    once = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    store_in_4bit(model)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, once[name], rtol=1e-6, atol=0)


def test_at_most_sixteen_levels_a_block(model):
    weight = through_4bit(model.model.layers[0].mlp.up_proj.weight)
    for block in weight.flatten().view(-1, 64)[:8]:
        assert len(block.unique()) <= 16


def test_an_edit_smaller_than_half_a_level_is_undone(model):
    weight = model.model.layers[0].mlp.up_proj.weight.detach()
    stored = through_4bit(weight)
    scale = stored.flatten().view(-1, 64).abs().amax(-1, keepdim=True)
    noise = torch.empty_like(stored.flatten().view(-1, 64)).uniform_(-0.01, 0.01) * scale
    edited = (stored.flatten().view(-1, 64) + noise).view_as(stored)
    assert torch.equal(codes(edited), codes(stored))


def test_embeddings_norms_and_output_layer_are_left_alone(model):
    names = {name for name, _ in linear_layers(model).items()}
    assert names == {
        f"model.layers.0.{name}"
        for name in (
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        )
    }
    before = model.model.embed_tokens.weight.clone()
    store_in_4bit(model)
    assert torch.equal(model.model.embed_tokens.weight, before)
