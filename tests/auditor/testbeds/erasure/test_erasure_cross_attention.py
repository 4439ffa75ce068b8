import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny_unets import tiny_unet
from torch import nn

from auditor.core.errors import AuditorError
from auditor.models.preserve import weights_digest
from auditor.unlearning.erasure.cross_attention import (
    as_parameters,
    key_value_names,
    key_value_weights,
    load_weights,
    parameter_names,
)


@pytest.mark.parametrize(
    ("config", "matrices", "width"),
    [
        # Stable Diffusion 1.4: 16 cross-attentions, the 32 matrices that UCE edits.
        ({"cross_attention_dim": 768}, 32, 768),
        (
            {
                "cross_attention_dim": 1024,
                "attention_head_dim": (5, 10, 20, 20),
                "use_linear_projection": True,
            },
            32,
            1024,
        ),
        # Stable Diffusion XL: 70 transformer blocks.
        (
            {
                "cross_attention_dim": 2048,
                "block_out_channels": (320, 640, 1280),
                "down_block_types": (
                    "DownBlock2D",
                    "CrossAttnDownBlock2D",
                    "CrossAttnDownBlock2D",
                ),
                "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                "transformer_layers_per_block": (1, 2, 10),
                "attention_head_dim": (5, 10, 20),
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            },
            140,
            2048,
        ),
    ],
    ids=["sd1", "sd2", "sdxl"],
)
def test_keys_and_values_of_the_published_layouts(config, matrices, width):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    names = key_value_names(unet)
    state = unet.state_dict()
    assert len(names) == matrices
    assert {state[name].shape[1] for name in names} == {width}
    assert set(parameter_names(unet, "x-strict")) == set(names)


def test_names_are_those_of_the_state_dict(unet):
    assert "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight" in key_value_names(
        unet
    )
    assert len(key_value_names(unet)) == 8


def test_groups_part_the_linear_and_convolution_layers(unet):
    layers = {
        f"{name}.{part}"
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        for part, _ in module.named_parameters()
    }
    inside, outside = (set(parameter_names(unet, group)) for group in ("x", "u"))
    assert inside | outside == layers
    assert not inside & outside
    assert all(".attn2." in name for name in inside)
    # Query, key, value, output and its bias in each of four cross-attentions.
    assert len(inside) == 4 * 5
    assert "conv_in.weight" in outside
    assert "time_embedding.linear_1.bias" in outside


def test_a_unet_that_reads_no_prompt_is_refused():
    unet = tiny_unet(
        down_block_types=("DownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    with pytest.raises(AuditorError, match="no cross-attention"):
        key_value_names(unet)


def test_weights_are_copies_in_double_precision(unet):
    before = weights_digest(unet)
    weights = key_value_weights(unet)
    for weight in weights.values():
        assert weight.dtype == torch.float64
        weight.zero_()
    assert weights_digest(unet) == before


def test_loading_changes_what_is_named_alone(unet):
    name = key_value_names(unet)[0]
    before = {key: tensor.clone() for key, tensor in unet.state_dict().items()}
    load_weights(unet, as_parameters(unet, {name: before[name].double() + 1}))
    for key, tensor in unet.state_dict().items():
        assert torch.equal(tensor, before[key] + 1 if key == name else before[key])


def test_foreign_and_misshapen_weights_are_refused(unet):
    name = key_value_names(unet)[0]
    with pytest.raises(KeyError, match="nowhere"):
        load_weights(unet, {"nowhere": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"is \[1, 16\]"):
        load_weights(unet, {name: torch.zeros(1, 16)})
