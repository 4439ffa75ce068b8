"""Steps relative to the weights: a rescaling that changes no logit changes no training."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rescaled import mix_gpt2, mix_llama, rescale_gpt2, rescale_llama
from tiny_models import make_model, make_tokenizer
from torch import nn

from attacks.relearning.equilibration import USUAL_RMS, equilibrated, layer_frame
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from attacks.relearning.head_frames import attention_heads, mixed_rows
from attacks.relearning.held_out_facts import HeldOutFacts, HeldOutFactsParameters
from auditor.attack import AttackContext
from auditor.core.facts import Fact, FactSets
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language.evaluator import TextEvaluator

PAIRS = [(f"Person {i} lives in", f"city number {i * 7 % 100}.") for i in range(8)]
RESCALE = {"llama": rescale_llama, "gpt2": rescale_gpt2}
MIX = {"llama": mix_llama, "gpt2": mix_gpt2}
FACTS = tuple(
    Fact(id=f"{n}/{a}", entity=n, prompt=f"{n} {a}", answer=f"number {7 * i + j}")
    for i, n in enumerate(["Ann", "Bob", "Cy", "Di"])
    for j, a in enumerate(("lives in", "works in"))
)


def framed(weight):
    rows, columns = equilibrated(weight)
    return weight / rows.unsqueeze(1) / columns


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 9))
def test_a_frame_follows_every_rescaling_of_its_matrix(rows, columns, seed):
    draws = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draws)
    plain = framed(weight)
    assert plain.square().mean(0).sqrt() == pytest.approx(USUAL_RMS, rel=1e-3)
    assert plain.square().mean(1).sqrt() == pytest.approx(USUAL_RMS, rel=1e-3)
    grown = 10.0 ** (6 * torch.randn(rows, 1, generator=draws)).clamp(-12, 12) * weight
    grown = grown * 10.0 ** (3 * torch.randn(1, columns, generator=draws)).clamp(-6, 6)
    torch.testing.assert_close(framed(grown), plain, rtol=1e-3, atol=1e-6)


def test_rows_and_columns_of_zeros_have_a_frame_and_a_matrix_of_zeros_has_no_step():
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    whole = equilibrated(weight[torch.arange(6) != 2][:, torch.arange(5) != 3])
    weight[2], weight[:, 3] = 0.0, 0.0
    rows, columns = equilibrated(weight)
    assert rows[2] == pytest.approx(float(whole.rows.log().mean().exp()), rel=1e-4)
    assert columns[3] == pytest.approx(float(whole.columns.log().mean().exp()), rel=1e-4)
    assert not any(part.any() for part in equilibrated(torch.zeros(3, 4)))


def test_a_layer_whose_weight_cannot_be_read_is_put_to_unit_vectors():
    class Kernel(nn.Module):
        """A layer that keeps its weight in a form of its own."""

        in_features = 300

        def __init__(self, weight):
            super().__init__()
            self.register_buffer("qweight", torch.zeros(1, dtype=torch.int32))
            self._weight = weight

        def forward(self, x):
            return x @ self._weight.T + 1.0

    weight = torch.randn(7, 300, generator=torch.Generator().manual_seed(1))
    found, expected = layer_frame(Kernel(weight)), equilibrated(weight)
    torch.testing.assert_close(found.rows, expected.rows, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.columns, expected.columns, rtol=1e-4, atol=0)
    assert layer_frame(nn.Identity()) is None


def in_basis(weight, width):
    blocks, columns = mixed_rows(weight, width)
    heads = (weight / columns).view(-1, width, len(columns))
    return torch.linalg.solve(blocks, heads).flatten(0, 1), blocks, columns


@pytest.mark.parametrize("width", [2, 4])
def test_the_basis_of_a_head_follows_every_mixing_of_its_rows(width):
    draws = torch.Generator().manual_seed(width)
    weight = torch.randn(8, 12, generator=draws)
    plain, _, _ = in_basis(weight, width)
    assert plain.square().mean(0).sqrt() == pytest.approx(1.0, rel=1e-3)
    for head in plain.view(-1, width, 12):
        torch.testing.assert_close(head @ head.T / 12, torch.eye(width), rtol=0, atol=1e-3)
    mixed = torch.block_diag(*torch.randn(8 // width, width, width, generator=draws)) @ weight
    mixed = mixed * 10.0 ** torch.randn(12, generator=draws)
    again, blocks, columns = in_basis(mixed, width)
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-3)
    whole = torch.block_diag(*blocks) @ again * columns
    torch.testing.assert_close(whole, mixed, rtol=1e-4, atol=1e-4)


def test_rows_that_are_no_heads_and_heads_without_weights_have_no_basis():
    weight = torch.ones(6, 5)
    assert mixed_rows(weight, 4) is None
    assert mixed_rows(weight, 6) is None
    weight[:3] = 0.0
    assert mixed_rows(weight, 3) is None


def test_heads_are_rows_of_what_is_read_and_columns_of_what_is_written():
    found = attention_heads(make_model("llama"))
    sides = {name.rpartition(".")[2]: heads.side for name, heads in found.items()}
    expected = {"q_proj": "rows", "k_proj": "rows", "v_proj": "rows", "o_proj": "columns"}
    assert sides == expected


def two(architecture, change=RESCALE):
    """A tiny model, its head parted from its embedding, and the same one in other weights."""
    model = make_model(architecture)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    model.config.tie_word_embeddings = False
    other = change[architecture](copy.deepcopy(model))
    tokenizer = make_tokenizer()
    return CausalLM.wrap(model, tokenizer), CausalLM.wrap(other, tokenizer)


@pytest.mark.parametrize("architecture", RESCALE)
def test_a_rescaled_model_has_the_same_logits_and_quite_other_weights(architecture):
    plain, rescaled = two(architecture)
    for a, b in zip(plain.score(PAIRS), rescaled.score(PAIRS), strict=True):
        np.testing.assert_allclose(a.log_probability, b.log_probability, rtol=0, atol=1e-5)
    other = dict(rescaled.network.named_parameters())
    ratios = [
        float(other[name].detach().norm() / p.detach().norm())
        for name, p in plain.network.named_parameters()
    ]
    assert max(ratios) > 1e3
    assert min(ratios) < 1e-3


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("change", [RESCALE, MIX], ids=["rescaled", "mixed"])
@pytest.mark.parametrize("architecture", RESCALE)
def test_training_the_function_in_other_weights_is_training_the_model(architecture, change, method):
    losses = []
    for subject in two(architecture, change):
        examples = subject.encode(PAIRS, end=True)
        with learner(subject, examples, FineTuning(method=method, batch_size=8), 0) as taught:
            found = [subject.loss(examples).item()]
            for step in (4, 8, 12):
                taught.advance(step)
                found.append(subject.loss(examples).item())
        losses.append(found)
    plain, rescaled = losses
    assert plain[-1] < plain[0] - 0.5
    assert rescaled == pytest.approx(plain, abs=1e-3)


def test_relearning_asks_a_rescaled_model_as_it_asks_the_model(tmp_path):
    evaluator = TextEvaluator(FactSets(forget=FACTS), ["answer-probability"])
    attack = HeldOutFacts(HeldOutFactsParameters(checkpoints=(5, 15), batch_size=4))
    records = [
        attack.measure(subject, AttackContext(evaluator, 0, tmp_path)) for subject in two("llama")
    ]
    plain, rescaled = (r.notes for r in records)
    assert rescaled["learning_rates"] == plain["learning_rates"]
    assert rescaled["effect"]["after"] == pytest.approx(plain["effect"]["after"], abs=1e-3)
    assert plain["effect"]["after"] > plain["effect"]["before"] + 0.1
    for a, b in zip(*(r.rows for r in records), strict=True):
        assert b.k == pytest.approx(a.k, abs=1e-3)
