"""What is written is what diffusers, transformers and a careful torch.load read."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from tiny_unets import random_prompt, tiny_unet
from transformers import CLIPTextModel

from auditor.unlearning.erasure import Erasure, load_weights, uce
from auditor.unlearning.erasure.cross_attention import parameter_names
from auditor.unlearning.erasure.formats import (
    write_delta,
    write_pipeline,
    write_unet_state,
)


@pytest.fixture
def delta(unet):
    """All tensors that ESD-x trains, changed: weights and biases."""
    state = unet.state_dict()
    return {name: state[name] + 1 for name in parameter_names(unet, "x")}


def assert_changed(unet, delta):
    """The UNet is the fixture's but for the changed tensors."""
    before = tiny_unet().state_dict()
    for name, tensor in unet.state_dict().items():
        assert torch.equal(tensor, delta.get(name, before[name])), name


def test_a_delta_is_the_trained_tensors_alone(delta, tmp_path):
    path = write_delta(delta, tmp_path / "deep" / "esd.safetensors")
    assert path == tmp_path / "deep" / "esd.safetensors"
    loaded = load_file(path)
    assert set(loaded) == set(delta)
    unet = tiny_unet()
    found = unet.load_state_dict(loaded, strict=False)
    assert found.unexpected_keys == []
    assert_changed(unet, delta)


def test_a_delta_keeps_its_precision(delta, tmp_path):
    half = {name: tensor.bfloat16() for name, tensor in delta.items()}
    loaded = load_file(write_delta(half, tmp_path / "esd.safetensors"))
    assert all(torch.equal(loaded[name], half[name]) for name in half)


def test_tensors_that_share_memory_are_written(tmp_path):
    both = torch.arange(6.0).view(2, 3)
    loaded = load_file(write_delta({"a": both, "b": both.T}, tmp_path / "esd.safetensors"))
    assert torch.equal(loaded["a"], both)
    assert torch.equal(loaded["b"], both.T)


def test_a_whole_state_dict_loads_strictly_and_without_pickle(unet, delta, tmp_path):
    path = write_unet_state(unet, delta, tmp_path / "uce.pt")
    loaded = torch.load(path, weights_only=True)
    assert type(loaded) is dict
    other = tiny_unet(seed=9)
    other.load_state_dict(loaded, strict=True)
    assert_changed(other, delta)
    assert_changed(unet, {})


def test_a_whole_state_dict_is_in_single_precision(tmp_path):
    unet = tiny_unet().bfloat16()
    loaded = torch.load(write_unet_state(unet, {}, tmp_path / "uce.pt"), weights_only=True)
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}


def test_foreign_tensors_are_not_written(unet, tmp_path):
    with pytest.raises(ValueError, match="no nowhere"):
        write_unet_state(unet, {"nowhere": torch.zeros(1)}, tmp_path / "uce.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_is_written_with_the_erased_unet(pipeline, tmp_path):
    original = pipeline.unet
    erased = tiny_unet(in_channels=4, out_channels=4)
    edited = uce(erased, [Erasure(random_prompt(1), random_prompt(2))])
    load_weights(erased, edited)
    path = write_pipeline(pipeline, erased, tmp_path / "mace")
    assert pipeline.unet is original
    loaded = StableDiffusionPipeline.from_pretrained(path, safety_checker=None)
    state = loaded.unet.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in edited.items())
    for name, tensor in original.state_dict().items():
        assert torch.equal(state[name], tensor) == (name not in edited)
    assert isinstance(loaded.text_encoder, CLIPTextModel)
    assert (path / "unet" / "diffusion_pytorch_model.safetensors").is_file()
