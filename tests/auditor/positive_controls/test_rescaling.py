"""Rescaled models: other weights, the same function, whatever the architecture."""

import pytest
import torch
from tiny_models import ARCHITECTURES, make_model

from auditor.positive_controls.rescaling import FACTOR, rescale

EXPECTED = {"llama": 4, "gpt2": 3}
"""Rescalings that an architecture has: norms, queries and keys, values, gated channels."""
IDS = torch.arange(12).view(2, 6)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_rescaling_leaves_the_function_of_every_architecture(architecture):
    model = make_model(architecture).eval()
    before, weights = logits(model), {n: p.clone() for n, p in model.named_parameters()}
    done = rescale(model, lambda: torch.allclose(logits(model), before, atol=1e-4))
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-4)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, weights[n])}
    assert bool(changed) == bool(done)
    assert done >= EXPECTED.get(architecture, 0)


def test_what_changes_an_answer_is_undone_to_the_bit():
    model = make_model("llama")
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert rescale(model, lambda: False) == 0
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_factors_are_powers_of_two_and_their_products_one():
    model = make_model("llama")
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert rescale(model, lambda: True) == 4
    layer, after = "model.layers.0.", dict(model.named_parameters())

    def factor(name):
        return float((after[layer + name] / before[layer + name]).detach().nanmedian())

    assert factor("input_layernorm.weight") == FACTOR**-2
    assert factor("self_attn.q_proj.weight") == FACTOR**3
    assert factor("self_attn.k_proj.weight") == FACTOR
    assert factor("self_attn.v_proj.weight") == FACTOR**3
    assert factor("self_attn.o_proj.weight") == 1 / FACTOR
    assert factor("mlp.gate_proj.weight") == FACTOR**2
    assert factor("mlp.up_proj.weight") == FACTOR**3
    assert factor("mlp.down_proj.weight") == 1 / FACTOR
