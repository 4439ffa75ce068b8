"""Weights that nothing asks, and weights that are missing."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from auditor.core.errors import AuditorError
from auditor.models.language.loading import load_directory
from auditor.models.language.spec import LanguageSpec


@pytest.fixture
def checkpoint(tmp_path):
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def opened(folder):
    spec = LanguageSpec(path=str(folder), kind="causal-lm")
    return load_directory(AutoModelForCausalLM, spec, folder)


def edited(folder, edit):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_whole_checkpoint_opens(checkpoint):
    assert opened(checkpoint).config.vocab_size == 32


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "original.lm_head"])
def test_weights_that_nothing_uses_are_refused(checkpoint, name):
    """A second model could lie there, certified and never asked."""
    edited(checkpoint, lambda tensors: tensors.update({name: torch.ones(4, 4)}))
    with pytest.raises(AuditorError, match="does not use") as error:
        opened(checkpoint)
    assert name in str(error.value)


def test_missing_weights_are_refused(checkpoint):
    edited(checkpoint, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(AuditorError, match="lacks weights"):
        opened(checkpoint)
