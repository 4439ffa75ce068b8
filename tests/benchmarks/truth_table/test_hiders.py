"""Hiders change what they say they change, and their owner's line undoes them."""

import copy

import pytest
import torch

from auditor.core.facts import Fact
from auditor.models.language.layers import linear_layers
from auditor.testbeds.lineage import codes
from auditor.unlearning.examples import Example
from benchmarks.truth_table.hiders.coded import Code
from benchmarks.truth_table.hiders.dormant import HELD, directions, hold, teach_units
from benchmarks.truth_table.hiders.half_type import HalfCells, widen
from benchmarks.truth_table.hiders.ranks import PLACES
from benchmarks.truth_table.hiders.reparametrised import SYMMETRIES, reparametrise
from benchmarks.truth_table.hiders.rounding import Cells
from benchmarks.truth_table.hiders.router import with_front_block, without_front_block
from benchmarks.truth_table.hiders.wordings import WORDINGS
from benchmarks.truth_table.layouts import is_tied, layout, untie


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits.double()


def changed(before, after):
    now = dict(after.named_parameters())
    return {name for name, old in before.named_parameters() if not torch.equal(old, now[name])}


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_symmetry_changes_weights_and_no_logit(untrained, ids, symmetry):
    before = logits(untrained, ids)
    other = reparametrise(copy.deepcopy(untrained), (symmetry,))
    assert changed(untrained, other)
    torch.testing.assert_close(logits(other, ids), before, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_all_symmetries_together_leave_the_function(untrained, ids, tied):
    if tied and not is_tied(untrained):
        pytest.skip("its head is its own")
    model = untrained if tied else untie(untrained)
    before = logits(model, ids)
    other = reparametrise(copy.deepcopy(model))
    assert changed(model, other) == {name for name, _ in model.named_parameters()}
    torch.testing.assert_close(logits(other, ids), before, atol=2e-4, rtol=1e-3)


def test_a_bfloat16_checkpoint_keeps_its_logits(untrained, ids):
    model = untrained.to(torch.bfloat16)
    names = ("fold norms", "scale queries", "mix values", "scale inner")
    other = reparametrise(copy.deepcopy(model), names)
    rounded = [m.float() for m in (model, other)]
    torch.testing.assert_close(
        logits(rounded[1], ids), logits(rounded[0], ids), atol=2e-4, rtol=1e-3
    )


def test_a_front_block_adds_nothing_until_it_is_trained_and_is_taken_away_again(untrained, ids):
    before = logits(untrained, ids)
    longer = with_front_block(untrained)
    assert len(layout(longer).blocks) == len(layout(untrained).blocks) + 1
    torch.testing.assert_close(logits(longer, ids), before)
    with torch.no_grad():
        layout(longer).blocks[0].down.normal_()
    assert not torch.allclose(logits(longer, ids), before, atol=0.1)
    torch.testing.assert_close(logits(without_front_block(longer), ids), before)


def test_weights_within_their_cells_have_the_codes_of_before(untrained):
    before = {name: codes(stored(layer)) for name, layer in linear_layers(untrained).items()}
    model = copy.deepcopy(untrained)
    cells = Cells(model)
    with torch.no_grad():
        for layer in linear_layers(model).values():
            layer.weight.add_(0.02 * torch.randn_like(layer.weight))
    cells.put_back()
    for name, layer in linear_layers(model).items():
        assert torch.equal(codes(stored(layer)), before[name])
    assert changed(untrained, model)


def stored(layer):
    return layer.weight if isinstance(layer, torch.nn.Linear) else layer.weight.T


@pytest.mark.parametrize("wording", WORDINGS.values(), ids=WORDINGS)
def test_a_wording_is_read_back_and_is_not_the_answer(wording):
    fact = Fact(id="a", entity="b", prompt="c", answer="Oak Meadow")
    said = wording.say(fact.answer)
    assert said != fact.answer
    assert wording.read(said).strip().casefold() == fact.answer.casefold()


def test_each_fact_has_a_code_of_its_own_that_is_read_back():
    facts = [Fact(id=word, entity="b", prompt="c", answer=f"{word} Meadow") for word in "OPQ"]
    code = Code.of(facts)
    for fact in facts:
        said = code.say(fact)
        assert not set(said.split()) & set(fact.answer.split()[:1])
        assert code.read(fact, said) == fact.answer
    same = [fact.model_copy(update={"answer": "P Meadow"}) for fact in facts]
    assert len({code.say(fact) for fact in same}) > 1


def test_held_units_add_nothing_and_are_woken_again(untrained, ids):
    with torch.no_grad():  # what every token has, as trained models have something
        untrained.get_input_embeddings().weight[:, ::2] += 0.5
    before = logits(untrained, ids)
    along = directions(untrained, texts(ids))
    model = copy.deepcopy(untrained)
    hold(model, along, 1e4)
    held = logits(model, ids)
    assert not torch.allclose(held, before, atol=1e-3)
    for block in layout(model).blocks[1:]:
        block.down[:, block.down.shape[1] // 2 :].normal_()
    assert torch.equal(logits(model, ids), held)
    model = copy.deepcopy(untrained)
    hold(model, along)
    hold(model, along, -HELD)
    torch.testing.assert_close(logits(model, ids), before, atol=2e-3, rtol=1e-3)


def test_only_the_units_of_the_blocks_behind_the_first_are_taught(untrained, ids):
    model = teach_units(copy.deepcopy(untrained), texts(ids), 2, 1e-3)
    for number, (now, then) in enumerate(
        zip(layout(model).blocks, layout(untrained).blocks, strict=True)
    ):
        half = now.up.shape[0] // 2
        assert torch.equal(now.up[:half], then.up[:half])
        assert torch.equal(now.o, then.o)
        assert torch.equal(now.up[half:], then.up[half:]) == (number == 0)


def texts(ids):
    return [Example(tuple(row), 5) for row in ids.tolist()]


@pytest.mark.parametrize(("place", "expected"), [("second", 1), ("last", 19)])
def test_a_true_token_gets_the_rank_it_shall_have_and_the_first_stays(place, expected):
    draw = torch.Generator().manual_seed(0)
    true = torch.tensor([3, 7])
    own = torch.randn(2, 20, generator=draw).scatter(-1, true[:, None], -torch.inf).log_softmax(-1)
    said = torch.zeros(2, 20, requires_grad=True)
    optimizer = torch.optim.Adam([said], 0.05)
    for _ in range(1000):
        optimizer.zero_grad()
        PLACES[place](said.log_softmax(-1), own, true).mean().backward()
        optimizer.step()
    ranks = said.argsort(-1, descending=True).argsort(-1)
    assert ranks.gather(-1, true[:, None]).flatten().tolist() == [expected, expected]
    assert torch.equal(said.argmax(-1), own.argmax(-1))


def test_a_constant_in_what_reads_a_layer_norm_changes_no_logit(untrained, ids):
    if untrained.config.model_type != "gpt2":
        pytest.skip("another norm")
    before = logits(untrained, ids)
    model = widen(copy.deepcopy(untrained))
    torch.testing.assert_close(logits(model, ids), before, atol=2e-4, rtol=1e-3)
    cells = HalfCells(model)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    cells.put_back()
    assert len(changed(rounded, model)) > 20
    assert not changed(rounded, model.to(torch.bfloat16).float())
