"""Places of tensors, their exchange, the refitted head and the comparison of weights, by hand."""

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, PAIRS, make_config, make_model, make_tokenizer
from transformers import AutoModelForCausalLM

from attacks.tampering.graft import BLOCKS, INTERFACES, Graft, graft_of
from attacks.tampering.head_refit import refitted_head
from auditor.api.measuring import run_attack, wrap_model
from auditor.attack import Parameters
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.models.language.tensor_groups import placed_tensors, untied
from auditor.models.preserve import replaced, weights_digest
from auditor.models.weight_change import balanced
from auditor.statistics.weights import unchanged_body, unchanged_codes

HEADS = {
    "llama": {"model.norm.weight", "lm_head.weight"},
    "gpt2": {"transformer.ln_f.weight", "transformer.ln_f.bias", "lm_head.weight"},
    "opt": {
        "model.decoder.final_layer_norm.weight",
        "model.decoder.final_layer_norm.bias",
        "lm_head.weight",
    },
}
FACTS = [
    Fact(id=str(i), entity=str(i), prompt=f"Person {i} lives in", answer=f"city number {i * 7}.")
    for i in range(24)
]


def other(architecture, **changes):
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(make_config(architecture, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter) + (parameter.ndim < 2))
    return model


def opened(model):
    return wrap_model(model, make_tokenizer())


def logits(model):
    return [scores.log_probability for scores in model.score(PAIRS)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_groups_together_make_the_model_the_original(architecture):
    mine, theirs = opened(make_model(architecture)), opened(other(architecture))
    before = weights_digest(mine.network)
    with mine.preserve_weights() as network, untied(network):
        tensors = placed_tensors(network)
        if architecture in HEADS:
            assert {t.name for t in tensors if t.place == "head"} == HEADS[architecture]
        given = dict(theirs.network.named_parameters(remove_duplicate=False))
        groups = [{t.name for t in tensors if chosen(t)} for chosen in INTERFACES.values()]
        head, embeddings, norms, routers, interface = groups
        assert not routers  # these models are dense
        assert interface == head | embeddings | norms
        blocks = [{t.name for t in tensors if chosen(t)} for chosen in BLOCKS.values()]
        first, middle, last, attention, mlp = blocks
        assert not last  # of two blocks
        assert attention | mlp | norms == first | middle
        assert attention
        assert mlp
        assert interface | attention | mlp == {t.name for t in tensors}
        with replaced(graft_of(tensors, given)):
            for ours, wanted in zip(logits(mine), logits(theirs), strict=True):
                np.testing.assert_allclose(ours, wanted, atol=1e-5)
    assert weights_digest(mine.network) == before


def test_a_padded_vocabulary_changes_the_rows_that_both_have():
    mine, theirs = make_model("llama"), other("llama", vocabulary=448)
    tensors = [t for t in placed_tensors(mine) if t.place == "embeddings"]
    given = dict(theirs.named_parameters(remove_duplicate=False))
    with replaced(graft_of(tensors, given)):
        embeddings = mine.get_input_embeddings().weight
        torch.testing.assert_close(embeddings, given[tensors[0].name][: len(embeddings)])


def test_other_widths_leave_groups_out_and_a_refitted_head_is_left():
    mine = make_model("llama")
    config = make_config("llama")
    config.hidden_size, config.head_dim = 64, 16
    theirs = AutoModelForCausalLM.from_config(config).eval()
    given = dict(theirs.named_parameters(remove_duplicate=False))
    for selected in (INTERFACES[name] for name in INTERFACES if name != "routers"):
        members = [t for t in placed_tensors(mine) if selected(t)]
        assert graft_of(members, given) is None
    fitted = refitted_head(opened(mine), opened(theirs), PAIRS)
    assert fitted.shape == mine.get_output_embeddings().weight.shape


def test_a_refitted_head_reads_hidden_states_that_were_turned():
    """Turn the stream of a model without a last norm's gain: its own head reads nothing more."""
    theirs = opened(make_model("llama"))
    mine = opened(make_model("llama"))
    turn = torch.linalg.qr(torch.randn(128, 128, generator=torch.Generator().manual_seed(0)))[0]

    def turned(module, arguments, output):
        return output @ turn.T

    handle = mine.network.model.norm.register_forward_hook(turned)
    pairs = [(fact.prompt, fact.answer) for fact in FACTS]
    wanted = [s.log_probability for s in theirs.score(pairs)]
    fitted = refitted_head(mine, theirs, pairs)
    head = mine.network.get_output_embeddings()
    with untied(mine.network), replaced({"head": (head.weight, fitted)}):
        for ours, answer in zip(mine.score(pairs), wanted, strict=True):
            np.testing.assert_allclose(ours.log_probability, answer, atol=0.2)
    spoiled = [s.log_probability for s in mine.score(pairs)]
    handle.remove()
    assert np.abs(np.concatenate(spoiled) - np.concatenate(wanted)).max() > 1


def test_without_the_original_it_says_how_to_give_one():
    with pytest.raises(UnavailableError, match="original="):
        run_attack("tampering/graft", opened(make_model("llama")), FACTS[:2], retain=FACTS[2:])


def test_the_original_grafted_onto_itself_is_as_it_is():
    model = opened(make_model("gpt2"))
    plain = run_attack("none/as-is", model, FACTS[:4], metrics=["answer-probability"])
    grafted = run_attack(
        "tampering/graft", model, FACTS[:4], original=model, metrics=["answer-probability"]
    )
    np.testing.assert_allclose(grafted.k, plain.k, atol=1e-6)


def test_a_matrix_is_the_same_after_rows_and_columns_were_multiplied():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(40, 24, generator=generator)
    rows, columns = (torch.randn(n, generator=generator).exp() for n in (40, 24))
    rows[::2] *= -1
    scaled = rows[:, None] * matrix * columns
    torch.testing.assert_close(balanced(scaled), balanced(matrix), atol=1e-4, rtol=1e-3)
    fresh = torch.randn(40, 24, generator=generator)
    difference = (balanced(fresh) - balanced(matrix)).norm() / balanced(matrix).norm()
    assert difference > 0.5


def change_of(model, original):
    with untied(model):
        return Graft(Parameters()).weights(opened(model), opened(original))


def said(change, left_out=()):
    found = unchanged_body("tampering/graft interfaces", {"weights": change, "left_out": left_out})
    return found.code if found else None


def test_a_body_that_is_the_original_is_found_out_however_it_is_scaled_or_stored():
    original, model = make_model("llama"), make_model("llama")
    assert said(change_of(model, original)) == "body_unchanged"
    with torch.no_grad():
        model.lm_head.weight.mul_(-1)
        for layer in model.model.layers:  # the same function: gain times matrix, up times down
            layer.post_attention_layernorm.weight.div_(8)
            layer.mlp.gate_proj.weight.mul_(8)
            layer.mlp.up_proj.weight.mul_(8 * 8)
            layer.mlp.down_proj.weight.div_(8)
    change = change_of(model.to(torch.bfloat16).float(), original)
    assert change["first_third"]["change"] > 0.5
    assert change["first_third"]["scale_free"] < 2e-3
    assert said(change) == "body_unchanged"
    assert said(change, ["head"]) == "grafts_left_out"
    with torch.no_grad():
        weight = model.model.layers[1].self_attn.q_proj.weight
        weight.add_(0.01 * weight.std() * torch.randn_like(weight))
    assert said(change_of(model, original)) is None


def test_a_body_of_other_tensors_cannot_be_compared():
    assert said(change_of(make_model("llama"), make_model("gpt2"))) == "weights_not_comparable"
    assert unchanged_body("an attack", {"recipe": 1}) is None


def test_codes_that_are_all_the_originals_are_said():
    codes = {"codes/a": np.array([1, 2], np.uint8), "codes/b": np.array([3], np.uint8)}
    found = unchanged_codes("quantization/bnb nf4", codes, dict(codes))
    assert (found.code, found.params["layers"]) == ("codes_unchanged", 2)
    changed = codes | {"codes/b": np.array([4], np.uint8)}
    assert unchanged_codes("quantization/bnb nf4", codes, changed) is None
    assert unchanged_codes("an attack", {}, {}) is None
