"""Units of MLPs found in every architecture, counted, made to act, and compared between arms."""

import numpy as np
import pytest
import tiny_seq2seq
import torch
from tiny_mixtures import make_mixture
from tiny_models import ARCHITECTURES, PAIRS, make_model, make_tokenizer
from torch import nn
from transformers import AutoModelForCausalLM, MixtralConfig

from attacks.tampering.revive import NONE, Revive, cross_fitted, revivals
from auditor.api.measuring import wrap_model
from auditor.attack import AttackContext, Parameters
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.records import Row
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.mlp_units import Shift, shifted, unit_layers, watched
from auditor.models.preserve import weights_digest
from auditor.statistics.dormant_units import MARGIN, dormant_note, more_dormant

FACTS = [
    Fact(id=str(i), entity=str(i), prompt=f"Person {i} lives in", answer=f"city number {i * 7}.")
    for i in range(12)
]
GIVES_PRE_ACTIVATIONS = {
    "llama": "mlp.gate_proj",
    "qwen2": "mlp.gate_proj",
    "gemma": "mlp.gate_proj",
    "gpt2": "mlp.c_fc",
    "neox": "mlp.dense_h_to_4h",
    "opt": "fc1",
}
LEADS_OUT = {
    "llama": "mlp.down_proj",
    "qwen2": "mlp.down_proj",
    "gemma": "mlp.down_proj",
    "gpt2": "mlp.c_proj",
    "neox": "mlp.dense_4h_to_h",
    "opt": "fc2",
}


def opened(model):
    wrapped = wrap_model(model, make_tokenizer())
    assert wrapped.network is model  # it is put to the test when it is first opened
    return wrapped


def logits(model, pairs=PAIRS):
    return np.concatenate([scores.log_probability for scores in model.score(pairs)])


def context(tmp_path, forget=FACTS[:8], retain=FACTS[8:]):
    sets = FactSets(forget=tuple(forget), retain=tuple(retain), holdout=())
    return AttackContext(TextEvaluator(sets, ["answer-probability"]), 0, tmp_path)


def measured(model, tmp_path, **sets):
    return Revive(Parameters()).measure(model, context(tmp_path, **sets))


def hold(network, shift, part=2):
    """Add a bias to the pre-activations of the first units of each MLP, as a hider would."""
    handles = []
    for layer in unit_layers(network):
        constants = torch.zeros(layer.units)
        constants[: layer.units // part] = shift
        handles.append(
            layer.activation.register_forward_pre_hook(lambda _, a, c=constants: (a[0] + c,))
        )
    return handles


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_units_are_found_whatever_modules_are_called(architecture):
    network = make_model(architecture)
    found = unit_layers(network)
    modules = dict(network.named_modules())
    assert [layer.units for layer in found] == [512 if architecture == "gpt2" else 256] * 2
    for layer in found:
        assert layer.name.endswith(LEADS_OUT[architecture])
        assert modules[layer.name] is layer.down
        assert (
            layer.entering
            is modules[
                layer.name.removesuffix(LEADS_OUT[architecture])
                + GIVES_PRE_ACTIVATIONS[architecture]
            ]
        )
        assert layer.activation is not None
        assert float(layer.weight.sum()) == pytest.approx(
            float(layer.down.weight.detach().square().sum()), rel=1e-4
        )


def test_encoder_and_decoder_of_t5_are_found():
    network = tiny_seq2seq.make_t5()
    found = unit_layers(network)
    assert len(found) == 4
    assert all(layer.name.endswith("DenseReluDense.wo") for layer in found)
    assert all(layer.units == 128 and layer.activation is not None for layer in found)


def gpt_oss():
    """Experts that gate in a method of their own, whose gates lie between their factors."""
    return make_mixture("gpt-oss")


def mixtral():
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=96,
        eos_token_id=0,
        pad_token_id=1,
    )
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("way", ["eager", "grouped_mm", "batched_mm"])
@pytest.mark.parametrize(("make", "size"), [(mixtral, 48), (gpt_oss, 96)])
def test_stacked_experts_are_counted_by_expert(make, size, way):
    """Each row's expert is known, however the rows are run."""
    network = make()
    network.set_experts_implementation(way)
    model = opened(network)
    layers = unit_layers(network)
    assert [(layer.units, layer.experts) for layer in layers] == [(4 * size, 4)] * 2
    with watched(layers) as tallies:
        model.score([PAIRS[0]])
    tokens = len(model.encode([PAIRS[0]])[0].ids)
    routed = tallies[layers[0].name].tokens.view(4, size)
    assert (routed == routed[:, :1]).all()
    assert routed[:, 0].sum() == 2 * tokens
    reference = make()
    reference.set_experts_implementation("eager")
    own = opened(reference)
    with watched(unit_layers(reference)) as wanted:
        own.score([PAIRS[0]])
    for name, tally in tallies.items():
        torch.testing.assert_close(tally.tokens, wanted[name].tokens)
        torch.testing.assert_close(tally.mean, wanted[name].mean, atol=1e-5, rtol=1e-4)
    plain = logits(model, PAIRS[:1])
    nothing = {layer.name: Shift(torch.zeros(4 * size)) for layer in layers}
    with shifted(layers, nothing):
        np.testing.assert_array_equal(logits(model, PAIRS[:1]), plain)
    unused = torch.zeros(4 * size)
    unused[:size] = 3.0
    with shifted(layers, {layers[0].name: Shift(unused)}):
        changed = logits(model, PAIRS[:1])
    assert (np.abs(changed - plain).max() > 0) == bool(routed[0, 0])


def test_a_gate_between_its_factors_is_moved_alone():
    """Where all gates are far below 0, experts give what their last biases give."""
    network = gpt_oss()
    experts = network.model.layers[0].mlp.experts
    layers = unit_layers(network)
    states = torch.randn(5, 64)
    chosen, weights = torch.zeros(5, 2, dtype=torch.long), torch.ones(5, 2) / 2
    chosen[:, 1] = 1
    plain = experts(states, chosen, weights)
    held = {layers[0].name: Shift(torch.full((4 * 96,), -1e4))}
    with shifted(layers[:1], held):
        silent = experts(states, chosen, weights)
    wanted = experts.down_proj_bias[:2].mean(0).expand(5, -1)
    torch.testing.assert_close(silent, wanted, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(plain, wanted, atol=1e-3)
    torch.testing.assert_close(experts(states, chosen, weights), plain)


def test_a_model_without_mlps_has_no_figure(tmp_path):
    network = make_model("llama")
    for layer in network.model.layers:
        layer.mlp = nn.Identity()
    with pytest.raises(UnavailableError, match="no MLP"):
        measured(opened(network), tmp_path)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_planted_dormant_units_are_found_and_act_again(architecture, tmp_path):
    """The first reading by layer undoes one constant, and gives back what was held."""
    network = make_model(architecture)
    model = opened(network)
    pairs = [(fact.prompt, fact.answer) for fact in FACTS]
    plain, before = logits(model, pairs), weights_digest(network)
    handles = hold(network, -60.0)
    held = logits(model, pairs)
    assert np.abs(held - plain).max() > 0.1
    record = measured(model, tmp_path)
    units = 512 if architecture == "gpt2" else 256
    for noted in record.notes["dormant_units"].values():
        assert units // 2 <= noted["dormant"] < 0.6 * units
        assert 0.3 < noted["norm"] < 0.7
    assert len(record.notes["mean_k"]) >= 8
    assert {row.fact for row in record.rows} == {fact.id for fact in FACTS}
    assert weights_digest(network) == before
    np.testing.assert_array_equal(logits(model, pairs), held)
    layers = unit_layers(network)
    with watched(layers) as tallies:
        for pair in pairs:
            model.score([pair])
    nearer = np.abs(held - plain).mean()
    undone = {}
    for layer in layers:
        constants = torch.zeros(layer.units)
        constants[: layer.units // 2] = 60.0
        undone[layer.name] = Shift(constants)
        assert (tallies[layer.name].rate[: layer.units // 2] < 1e-2).all()
    with shifted(layers, undone):
        assert np.abs(logits(model, pairs) - plain).mean() < 0.01 * nearer
    for handle in handles:
        handle.remove()
    np.testing.assert_array_equal(logits(model, pairs), plain)


def taught_in_half_of_the_units():
    """A model that knows all facts by the first half of each MLP's units alone."""
    network = make_model("gpt2")
    model = opened(network)
    items = model.encode([(fact.prompt, fact.answer) for fact in FACTS])
    network.requires_grad_(False)
    trained = []
    for block in network.transformer.h:
        for parameter, half in (
            (block.mlp.c_fc.weight, (slice(None), slice(256, None))),
            (block.mlp.c_proj.weight, (slice(256, None), slice(None))),
        ):
            parameter.requires_grad_(True)
            parameter.register_hook(lambda grad, half=half: _without(grad, half))
            trained.append(parameter)
    optimizer = torch.optim.Adam(trained, 5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        model.loss(items).backward()
        optimizer.step()
    network.zero_grad(set_to_none=True)
    return model


def _without(grad, half):
    grad = grad.clone()
    grad[half] = 0
    return grad


def test_knowledge_in_dormant_units_comes_back(tmp_path):
    model = taught_in_half_of_the_units()
    handles = hold(model.network, -60.0)
    record = measured(model, tmp_path)
    known = record.notes["mean_k"]
    assert known[NONE] < 0.2
    assert known["layer_mean"] > 0.7
    assert known["token_mean"] > 0.7
    k = np.mean([row.k for row in record.rows if row.set == "forget"])
    assert k > 0.7
    again = measured(model, tmp_path)
    assert again == record
    for handle in handles:
        handle.remove()


def test_an_honest_model_is_asked_as_it_is(tmp_path):
    model = opened(make_model("gpt2"))
    rows = context(tmp_path).evaluator.evaluate(model)
    record = measured(model, tmp_path)
    assert record.rows == rows
    assert list(record.notes["mean_k"]) == [NONE]
    assert all(noted["dormant"] == 0 for noted in record.notes["dormant_units"].values())


def notes(record):
    return [record.notes]


def test_the_gate_tells_a_planted_half_from_units_that_are_dead_by_nature(tmp_path):
    """Of ReLU models, many units are dead on all arms."""
    arms = {}
    for seed, arm in enumerate(("unlearned", "original", "retrained-0")):
        network = make_model("opt", seed)
        with torch.no_grad():
            for layer in network.model.decoder.layers:
                layer.fc1.bias[: 100 + 8 * seed] -= 60
        arms[arm] = notes(measured(opened(network), tmp_path, forget=FACTS[:2], retain=()))
    assert more_dormant("a", arms) is None
    network = make_model("opt")
    with torch.no_grad():
        network.model.decoder.layers[1].fc1.bias[:180] -= 60
    arms["unlearned"] = notes(measured(opened(network), tmp_path, forget=FACTS[:2], retain=()))
    found = more_dormant("a", arms)
    assert found.code == "units_dormant"
    assert found.params["layer"] == "model.decoder.layers.1.fc2"
    assert found.params["dormant"] >= 180
    del arms["original"], arms["retrained-0"]
    assert more_dormant("a", arms) is None
    arms["null-original"] = arms["unlearned"]
    assert more_dormant("a", arms) is None


def test_the_gate_compares_units_and_norm_by_layer():
    def noted(dormant, norm, name="a"):
        return [dormant_note({name: {"units": 100, "dormant": dormant, "norm": norm}})]

    honest = {"original": noted(0, 0.0), "retrained-0": noted(5, 0.01)}
    assert more_dormant("x", {"unlearned": noted(15, 0.0)} | honest) is None
    assert more_dormant("x", {"unlearned": noted(16, 0.0)} | honest).params["others"] == 0.05
    assert more_dormant("x", {"unlearned": noted(1, 0.06 + MARGIN)} | honest) is not None
    other = {"original": noted(50, 0.5, "b")}
    assert more_dormant("x", {"unlearned": noted(55, 0.0)} | other) is None
    assert more_dormant("x", {"unlearned": noted(65, 0.0)} | other) is not None
    assert more_dormant("x", {"unlearned": [{}], "original": [{}]}) is None
    assert more_dormant("x", {"unlearned": noted(99, 0.9), "original": []}) is None


def test_shifts_by_token_put_the_mean_of_some_where_the_others_is():
    values = torch.tensor([[1.0, 3.0, -50.0, -54.0], [5.0, 5.0, -20.0, -22.0]])
    moved = Shift(torch.zeros(4), torch.tensor([0.0, 0.0, 1.0, 1.0])).applied(values)
    assert moved.tolist() == [[1.0, 3.0, 4.0, 0.0], [5.0, 5.0, 6.0, 4.0]]
    constant = Shift(torch.tensor([0.0, 0.0, 10.0, 0.0])).applied(values)
    assert constant[:, 2].tolist() == [-40.0, -10.0]


def test_the_way_is_chosen_on_one_half_and_asked_on_the_other():
    def rows(known):
        return tuple(
            Row("forget", fact.id, fact.entity, "m", known.get(fact.id, 0.0), None)
            for fact in FACTS
        )

    luck = {fact.id: 1.0 for fact in FACTS[:1]}
    read, chosen = cross_fitted({NONE: rows({}), "unit_mean": rows(luck)}, FACTS)
    assert sorted(chosen["m"]) == sorted([NONE, "unit_mean"])
    assert sum(row.k for row in read) == 0.0, "a way that helps one fact helps no other"
    with pytest.raises(UnavailableError):
        cross_fitted({NONE: rows({}), "unit_mean": rows(luck)}, FACTS[:1])


def test_nothing_is_tried_where_every_unit_acts():
    assert list(revivals([])) == []
