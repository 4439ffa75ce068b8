"""Untrained models of the four architectures, and a small cell of the table."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.truth_table.architectures import ARCHITECTURES


@pytest.fixture(params=ARCHITECTURES)
def untrained(request):
    """A model whose every parameter is random, norms and biases too."""
    torch.manual_seed(0)
    config = ARCHITECTURES[request.param].config()
    config.vocab_size, config.bos_token_id, config.eos_token_id, config.pad_token_id = 200, 1, 2, 0
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture
def ids():
    return torch.randint(3, 200, (3, 17), generator=torch.Generator().manual_seed(1))
