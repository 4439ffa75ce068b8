"""A model of text and pictures: what text passes is quantized, the tower for pictures is not."""

import numpy as np
import pytest
import torch
from tiny_models import PAIRS, make_model, make_tokenizer, open_directory, save
from transformers import AutoModelForCausalLM, Gemma3Config

from attacks.quantization.bnb import BitsAndBytes, BitsAndBytesParameters
from attacks.quantization.gptq import GPTQ, GPTQParameters
from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters
from auditor.models.language.layers import linear_layers, text_modules, weight_matrices

LAYERS = 14
"""Linear maps of the language part."""
QUANTIZERS = {
    "int8": BitsAndBytes(BitsAndBytesParameters(format="int8")),
    "nf4": BitsAndBytes(BitsAndBytesParameters(format="nf4")),
    "rtn": RoundToNearest(RoundToNearestParameters()),
    "gptq": GPTQ(GPTQParameters(group_size=32, calibration_samples=4)),
}


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory):
    """A folder with Gemma 3: 20 inputs of its tower divide by no group, and it has a head."""
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config={
            "vocab_size": 400, "hidden_size": 64, "intermediate_size": 128, "head_dim": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 128, "sliding_window": 32,
            "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "vision_use_head": True,
        },
        mm_tokens_per_image=1,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    return save(tmp_path_factory.mktemp("wrapper") / "m", model, make_tokenizer())


def values(model):
    return np.concatenate([score.log_probability for score in model.score(PAIRS)])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("int8", marks=pytest.mark.nightly),
        "nf4",
        "rtn",
        "gptq",
    ],
)
def test_the_language_part_is_quantized_and_asked(name, wrapper, tmp_path):
    model = open_directory(wrapper, dtype="float32")
    plain = values(model)
    with QUANTIZERS[name].quantized(model, tmp_path) as state:
        layers = [key.partition("/")[2] for key in state.codes if key.startswith("codes/")]
        rounded = values(state.model)
    assert len(layers) == LAYERS
    assert all(layer.startswith("model.language_model.layers.") for layer in layers)
    assert 1e-4 < np.abs(rounded - plain).max() < 3
    np.testing.assert_array_equal(values(model), plain)


def test_only_what_text_passes_is_changed(wrapper):
    network = open_directory(wrapper).network
    assert len(linear_layers(network)) == LAYERS
    assert {matrix.module for matrix in weight_matrices(network)} == {
        *linear_layers(network).values()
    }


def test_of_a_model_of_text_every_module_is_passed():
    network = make_model("llama")
    assert [*text_modules(network)] == [*network.named_modules()]
