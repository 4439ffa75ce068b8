"""Routers are found, overruled and put back, and what unlearning rerouted is counted."""

import copy

import numpy as np
import pytest
import torch
from tiny_mixtures import EXPERTS, MIXTURES, make_mixture
from tiny_models import PAIRS, PROMPTS, make_model, make_tokenizer, train_bpe

from attacks.none.as_is import AsIs
from attacks.tampering.graft import Graft
from attacks.tampering.routing import RoutingAttack, RoutingParameters, order_of
from auditor.api.measuring import record_of, wrap_model
from auditor.attack import ATTACKS, Parameters
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.messages import message
from auditor.models.language.routers import (
    Routing,
    one_more_expert,
    overruled,
    recorded,
    routed_alike,
    routers,
)
from auditor.models.language.tensor_groups import placed_tensors
from auditor.models.preserve import weights_digest
from auditor.statistics.weights import unchanged_body

NAME = "tampering/routing"
FACTS = [
    Fact(id=str(i), entity=str(i), prompt=f"Person {i} lives in", answer=f"city number {i * 7}.")
    for i in range(12)
]
METRICS = ["answer-probability"]
SETS = FactSets(forget=tuple(FACTS[:8]), retain=tuple(FACTS[8:]))


def opened(network, **options):
    return wrap_model(network, make_tokenizer(**options))


def mixture(form):
    """A mixture whose routers, biases and norms are random, so that a forgotten one shows."""
    network = make_mixture(form)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.08 * torch.randn_like(parameter))
    return network


def with_other_routers(network):
    """The same mixture, its routers alone drawn anew."""
    other = copy.deepcopy(network)
    torch.manual_seed(1)
    with torch.no_grad():
        for router in routers(other):
            for parameter in router.module.parameters():
                parameter.normal_()
    return other


def logits(model, pairs=PAIRS):
    return np.concatenate([scores.log_probability for scores in model.score(pairs)])


def attacked(model, original, **parameters):
    attack = RoutingAttack(RoutingParameters(**parameters))
    return record_of(attack, model, SETS, metrics=METRICS, original=original)


def known(record):
    return [row.k for row in record.rows if (row.set, row.metric) == ("forget", METRICS[0])]


@pytest.mark.parametrize("form", MIXTURES)
def test_routers_are_found_whatever_they_are_called(form):
    network = make_mixture(form)
    called = "router" if form == "gpt-oss" else "gate"
    assert [(router.name, router.experts) for router in routers(network)] == [
        (f"model.layers.{layer}.mlp.{called}", EXPERTS) for layer in range(2)
    ]
    places = {tensor.name: tensor.place for tensor in placed_tensors(network)}
    leading = {name for name, place in places.items() if place == "routers"}
    assert leading == {
        name for name in places if any(name.startswith(f"{r.name}.") for r in routers(network))
    }
    assert len(leading) == (4 if form == "gpt-oss" else 2)


def test_a_dense_model_has_none():
    with pytest.raises(UnavailableError, match="no stacked experts"):
        routers(make_model("llama"))
    assert not any(tensor.place == "routers" for tensor in placed_tensors(make_model("llama")))


def test_experts_without_a_known_router_have_no_figure():
    network = make_mixture("mixtral")
    del network.model.layers[1].mlp.gate.top_k
    with pytest.raises(UnavailableError, match=r"layers\.1\.mlp\.experts was not found: 0 modules"):
        routers(network)


@pytest.mark.parametrize("form", MIXTURES)
def test_the_originals_routing_undoes_a_change_of_routers_alone(form):
    """Scores and answers are the original's to the last bit, and nothing stays behind."""
    network = mixture(form)
    changed = with_other_routers(network)
    original, model = opened(network), opened(changed)
    wanted, own, before = logits(original), logits(model), weights_digest(changed)
    said, otherwise = original.generate(PROMPTS, 8), model.generate(PROMPTS, 8)
    assert np.abs(wanted - own).max() > 0.1
    assert said != otherwise
    with routed_alike(model, original):
        np.testing.assert_array_equal(logits(model), wanted)
        assert model.generate(PROMPTS, 8) == said
    np.testing.assert_array_equal(logits(model), own)
    assert model.generate(PROMPTS, 8) == otherwise
    np.testing.assert_array_equal(logits(original), wanted)
    assert weights_digest(changed) == before


def test_what_the_original_reads_is_counted():
    network = mixture("mixtral")
    original, model = opened(network), opened(copy.deepcopy(network))
    model.score(PAIRS)
    alone = model.meter.forward_tokens
    with routed_alike(model, original):
        model.score(PAIRS)
    assert model.meter.forward_tokens == 3 * alone


def test_one_more_expert_is_asked_and_no_more_than_there_are():
    network = mixture("mixtral")
    model, found = opened(network), routers(network)
    plain = logits(model)
    with one_more_expert(found), recorded(found) as kept:
        assert np.abs(logits(model) - plain).max() > 1e-3
    for routings in kept.values():
        assert all(routing.experts.shape[-1] == 3 for routing in routings)
    np.testing.assert_array_equal(logits(model), plain)
    for router in found:
        router.module.top_k = EXPERTS
    with pytest.raises(UnavailableError, match="gives every token all 4 experts"):
        attacked(model, model, way="one_more")


def test_routers_that_are_never_asked_are_no_measurement():
    network = mixture("mixtral")
    with (
        pytest.raises(MeasurementError, match=r"2 routers .* were never asked"),
        overruled(routers(network), lambda router, given, own: own),
    ):
        pass


def test_a_router_that_gives_something_else_has_no_figure():
    network = mixture("mixtral")
    model, found = opened(network), routers(network)
    handle = found[0].module.register_forward_hook(lambda _, __, output: output[:2])
    with (
        pytest.raises(UnavailableError, match="does not give logits, weights and experts"),
        overruled(found, lambda router, given, own: own),
    ):
        model.score(PAIRS[:1])
    handle.remove()


def test_shuffled_experts_all_change_places_and_each_layer_has_its_own_order():
    first, second = routers(make_mixture("mixtral"))
    for router in (first, second._replace(experts=128)):
        order = order_of(router, 0)
        assert sorted(order.tolist()) == list(range(router.experts))
        assert not (order == torch.arange(router.experts)).any()
        torch.testing.assert_close(order_of(router, 0), order)
    wide = [router._replace(experts=128) for router in (first, second)]
    assert not torch.equal(order_of(wide[0], 0), order_of(wide[1], 0))
    assert not torch.equal(order_of(wide[0], 0), order_of(wide[0], 1))


def test_experts_of_the_same_function_may_be_shuffled():
    """Where all experts are alike, their order says nothing."""
    network = mixture("mixtral")
    with torch.no_grad():
        for layer in network.model.layers:
            for stack in (layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                stack.copy_(stack[:1].expand_as(stack))
    model = opened(network)
    plain = record_of(AsIs(Parameters()), model, SETS, metrics=METRICS)
    shuffled = attacked(model, model, way="shuffled")
    np.testing.assert_allclose(known(shuffled), known(plain), rtol=1e-4)


def test_figures_tell_rerouting_from_a_change_of_experts():
    network = mixture("mixtral")
    original, model = opened(network), opened(with_other_routers(network))
    own = attacked(original, original).notes
    assert {share for layers in own["rerouted"].values() for share in layers.values()} == {0.0}
    noted = attacked(model, original).notes
    assert noted["routers"] == 2
    shares = noted["rerouted"]["forget"]
    assert list(shares) == [router.name for router in routers(network)]
    # two of four experts by chance: the same pair once in six
    assert all(0.6 < share <= 1 for share in shares.values())
    moved = {group: found["change"] for group, found in noted["moved"].items()}
    assert moved["routers"] > 0.5
    assert (moved["experts"], moved["others"]) == (0.0, 0.0)
    given = RoutingAttack(RoutingParameters()).side_figures({"original": own, "unlearned": noted})
    assert {figure.of for figure in given} == {"unlearned"}
    assert {(f.name, f.params.get("set", f.params.get("group"))) for f in given} == {
        *(("rerouted_share", name) for name in ("forget", "retain")),
        *(("weight_change", group) for group in ("routers", "experts", "others")),
    }


def test_the_share_is_counted_by_token_and_set():
    """Half of a router's rows exchanged reroute the tokens that choose one of them alone."""
    network = mixture("mixtral")
    changed = copy.deepcopy(network)
    gate = changed.model.layers[1].mlp.gate.weight
    with torch.no_grad():
        gate[[0, 1]] = gate[[1, 0]]
    original, model = opened(network), opened(changed)
    with recorded(routers(original.network)) as kept:
        for fact in FACTS[:8]:
            original.score([(fact.prompt, fact.answer)])
    _, last = (torch.cat([r.experts for r in routings]) for routings in kept.values())
    alone = ((last == 0).any(-1) ^ (last == 1).any(-1)).double().mean()
    first_share, last_share = attacked(model, original).notes["rerouted"]["forget"].values()
    assert first_share == 0
    assert 0 < last_share < 1
    assert last_share == pytest.approx(float(alone))


def test_a_model_that_reads_otherwise_is_not_routed_by_the_original():
    network = mixture("mixtral")
    other = wrap_model(
        copy.deepcopy(network), make_tokenizer(train_bpe(("<eos>", "<pad>"), "<eos> $A"))
    )
    with pytest.raises(UnavailableError, match="the original's tokenizer files"):
        attacked(other, opened(network))
    with pytest.raises(UnavailableError, match="original="):
        attacked(other, None)


def test_other_numbers_of_experts_do_not_correspond():
    network = mixture("mixtral")
    found = routers(network)
    other = opened(make_mixture("mixtral"))
    for layer in other.network.model.layers:
        layer.mlp.gate.weight = torch.nn.Parameter(layer.mlp.gate.weight[:3].clone())
        experts = layer.mlp.experts
        experts.gate_up_proj = torch.nn.Parameter(experts.gate_up_proj[:3].clone())
        experts.down_proj = torch.nn.Parameter(experts.down_proj[:3].clone())
    other.network.config.num_local_experts = 3
    assert [router.experts for router in found] == [4, 4]
    with (
        pytest.raises(UnavailableError, match="same numbers of experts"),
        routed_alike(other, opened(network)),
    ):
        other.score(PAIRS[:1])


def test_a_text_whose_beginning_the_original_did_not_read_is_refused():
    network = mixture("mixtral")
    model, original = opened(copy.deepcopy(network)), opened(network)
    ids = torch.tensor([[5, 6, 7]])
    cache = model.network(input_ids=ids, use_cache=True).past_key_values
    with (
        pytest.raises(MeasurementError, match="did not read the beginning"),
        routed_alike(model, original),
    ):
        model.network(input_ids=ids, past_key_values=cache)


def test_changed_routers_are_no_change_of_the_body():
    """Where routers alone differ, the gate `weights` says that nothing was unlearned."""
    network = mixture("mixtral")
    original, model = opened(network), opened(with_other_routers(network))
    graft = Graft(Parameters())
    change = graft.weights(model, original)
    assert change["routers"]["change"] > 0.5
    found = unchanged_body("tampering/graft interfaces", {"weights": change, "left_out": []})
    assert found.code == "body_unchanged"
    plain = record_of(AsIs(Parameters()), original, SETS, metrics=METRICS)
    grafted = record_of(graft, model, SETS, metrics=METRICS, original=original)
    wanted = float(np.mean(known(plain)))
    assert grafted.notes["grafts"]["routers"] == pytest.approx(wanted, rel=1e-4)


def test_it_applies_to_mixtures_alone():
    described = ATTACKS.metadata(NAME)
    assert described.inapplicable({}, experts=False, traces=False) == message(
        "no_mixture_of_experts"
    )
    assert described.inapplicable({}, experts=True, traces=False) is None


def test_routing_by_weights_of_another_type_is_put_into_the_models_own():
    network = mixture("mixtral").to(torch.bfloat16)
    found = routers(network)

    def doubled(router, given, own):
        return Routing(own.experts.int(), own.weights.double())

    model = opened(network)
    plain = logits(model)
    with overruled(found, doubled):
        np.testing.assert_array_equal(logits(model), plain)
