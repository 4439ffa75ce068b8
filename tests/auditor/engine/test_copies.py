"""Checkpoints that are one model, and honest ones that are nearly so."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from auditor.core.hashing import digest_file
from auditor.engine.copies import copy_of
from auditor.models.manifest import Location, Manifest

NOISE = 1e-6


def located(model, folder, **options):
    """A model saved in a folder, as an audit finds it."""
    model.save_pretrained(folder, **options)
    files = {f.name: digest_file(f) for f in folder.glob("*.safetensors")}
    return Location(model=folder, adapter=None, manifest=Manifest(files=files))


def trained(model, rate, steps=20, only=("",)):
    """A copy that was trained on random text."""
    model = copy.deepcopy(model)
    chosen = [p for n, p in model.named_parameters() if any(part in n for part in only)]
    optimizer = torch.optim.AdamW(chosen, lr=rate, weight_decay=0.0)
    draw = torch.Generator().manual_seed(7)
    for _ in range(steps):
        tokens = torch.randint(0, 64, (4, 12), generator=draw)
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return trained(LlamaForCausalLM(config), 3e-3)


@pytest.fixture(scope="module")
def unlearned(model, tmp_path_factory):
    return located(model, tmp_path_factory.mktemp("unlearned") / "U")


def with_noise(model):
    noisy = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter.add_(NOISE * torch.randn_like(parameter))
    return noisy


def rescaled(model):
    """The same function, with other scales of two matrices of each block."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in other.model.layers:
            layer.mlp.up_proj.weight.mul_(8.0)
            layer.mlp.down_proj.weight.div_(8.0)
    return other


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (copy.deepcopy, {"max_shard_size": "20kB"}),
        (with_noise, {}),
        (rescaled, {}),
        (lambda model: copy.deepcopy(model).to(torch.bfloat16), {}),
        (lambda model: copy.deepcopy(model).to(torch.float16), {}),
    ],
    ids=["other shards", "noise", "rescaled", "bfloat16", "float16"],
)
def test_a_model_saved_again_is_a_copy(model, unlearned, tmp_path, made, options):
    found = copy_of(unlearned, located(made(model), tmp_path / "R", **options))
    assert found is not None
    assert found.matrices >= 2 * 7 + 1
    assert found.largest < 2e-3


@pytest.mark.parametrize(
    ("rate", "only"),
    [(1e-3, ("",)), (1e-4, ("",)), (1e-4, ("q_proj", "v_proj"))],
    ids=["trained on", "small learning rate", "two matrices a block"],
)
def test_a_model_trained_on_is_none(model, unlearned, tmp_path, rate, only):
    """Honest retrained models may share a base, and move few matrices by little."""
    assert copy_of(unlearned, located(trained(model, rate, only=only), tmp_path / "R")) is None


def test_models_of_another_shape_are_not_compared(unlearned, tmp_path):
    config = LlamaConfig.from_pretrained(unlearned.model)
    config.hidden_size = 16
    assert copy_of(unlearned, located(LlamaForCausalLM(config), tmp_path / "R")) is None
