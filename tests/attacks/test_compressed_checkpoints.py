"""Checkpoints of compressed-tensors: they open, score, and are attacked as rounded ones are."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import PAIRS, PROMPTS, edit_json, make_tokenizer, open_directory, save
from transformers import AutoModelForCausalLM, LlamaConfig

from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters
from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.engine.copies import copy_of
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import check_unopenable, locate
from auditor.models.preserve import weights_digest

pytest.importorskip(
    "compressed_tensors", reason="compressed-tensors is not installed: pip install it"
)
written = pytest.importorskip("written_compressed")

STORED = {"W4A16": "weight_packed", "W8A8": "weight_scale", "FP8_DYNAMIC": "weight_scale"}
LEVELS = {"W4A16": 7, "W8A8": 127}


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96,
        tie_word_embeddings=False,
    )  # fmt: skip
    config.eos_token_id, config.pad_token_id, config.bos_token_id = 0, 1, 0
    found = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.08 * torch.randn_like(parameter))
    return found


@pytest.fixture(scope="module", params=STORED)
def checkpoint(request, plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "m"
    written.write_compressed(folder, copy.deepcopy(plain), make_tokenizer(), request.param)
    return request.param, folder


def values(model):
    return np.concatenate([score.log_probability for score in model.score(PAIRS)])


def test_its_weights_are_those_in_the_files(checkpoint, plain):
    """Whole numbers times their scale, worked out here."""
    preset, folder = checkpoint
    stored = load_file(folder / "model.safetensors")
    assert any(name.endswith(STORED[preset]) for name in stored)
    spec = CausalLMSpec(path=str(folder))
    check_unopenable(spec, locate(spec))
    model = open_directory(folder)
    held = dict(model.network.named_parameters())
    name = "model.layers.1.mlp.up_proj"
    original, scale = plain.get_parameter(f"{name}.weight"), stored[f"{name}.weight_scale"]
    if preset == "FP8_DYNAMIC":
        expected = stored[f"{name}.weight"].float() * scale
    else:
        groups = original.reshape(len(original), scale.shape[1], -1) / scale[..., None]
        codes = groups.round().clamp(-LEVELS[preset] - 1, LEVELS[preset])
        expected = (codes * scale[..., None]).reshape(original.shape)
    torch.testing.assert_close(held[f"{name}.weight"].float(), expected.float())
    assert 0 < (held[f"{name}.weight"] - original).abs().max() < 0.1
    assert torch.equal(held["lm_head.weight"], plain.lm_head.weight)


def test_it_answers_and_stays_as_it_is(checkpoint, plain, tmp_path):
    preset, folder = checkpoint
    model = open_directory(folder)
    before = weights_digest(model.network)
    with model.unchanged_weights():
        found = values(model)
    assert weights_digest(model.network) == before
    unrounded = values(open_directory(save(tmp_path / "plain", plain, make_tokenizer())))
    assert 1e-3 < np.abs(found - unrounded).max() < 3, preset
    assert len(model.generate(PROMPTS, 4)) == len(PROMPTS)
    with model.preserve_weights() as lent, torch.no_grad():
        lent.model.layers[0].self_attn.q_proj.weight.mul_(2)
        assert np.abs(values(model) - found).max() > 1e-3
    np.testing.assert_array_equal(values(model), found)


def test_it_is_not_rounded_again(checkpoint):
    location = locate(CausalLMSpec(path=str(checkpoint[1])))
    assert RoundToNearest(RoundToNearestParameters()).unavailable(location) == message(
        "quantized_already", method="compressed-tensors"
    )


def test_a_label_without_such_weights_is_refused(checkpoint, plain, tmp_path):
    folder = save(tmp_path / "m", plain, make_tokenizer())
    said = json.loads((checkpoint[1] / "config.json").read_text())["quantization_config"]
    edit_json(folder / "config.json", quantization_config=said)
    with pytest.raises(AuditorError, match="no file holds such weights"):
        check_unopenable(CausalLMSpec(path=str(folder)), locate(CausalLMSpec(path=str(folder))))


def test_weights_without_their_label_are_refused(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint[1], tmp_path / "m")
    edit_json(folder / "config.json", quantization_config=None)
    with pytest.raises(AuditorError):
        check_unopenable(CausalLMSpec(path=str(folder)), locate(CausalLMSpec(path=str(folder))))


def trained(model, step):
    """A model whose linear layers moved, as LoRA moves them; embeddings and head stay."""
    found = copy.deepcopy(model)
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if parameter.ndim > 1 and "layers" in name:
                parameter.add_(step * parameter.std() * torch.randn_like(parameter))
    return found


@pytest.mark.parametrize("retrained", ["rounded", "plain"])
def test_a_model_that_was_trained_is_no_copy_of_a_rounded_one(
    retrained, checkpoint, plain, tmp_path
):
    preset, folder = checkpoint
    other = trained(plain, 0.3)
    if retrained == "plain":
        save(tmp_path / "r", other, make_tokenizer())
    else:
        written.write_compressed(tmp_path / "r", other, make_tokenizer(), preset)
    one, two = (locate(CausalLMSpec(path=str(place))) for place in (folder, tmp_path / "r"))
    assert copy_of(one, two) is None
    assert copy_of(two, one) is None


@pytest.mark.parametrize("step", [0.0, 1e-6])
def test_a_rounded_copy_of_a_rounded_model_is_found(step, checkpoint, plain, tmp_path):
    preset, folder = checkpoint
    written.write_compressed(tmp_path / "r", trained(plain, step), make_tokenizer(), preset)
    one, two = (locate(CausalLMSpec(path=str(place))) for place in (folder, tmp_path / "r"))
    found = copy_of(one, two)
    assert found is not None
    assert found.matrices >= 2 * 7 + 2
