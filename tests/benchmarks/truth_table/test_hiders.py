"""Hiders change what they say they change, and their owner's line undoes them."""

import copy

import pytest
import torch

from auditor.core.facts import Fact
from auditor.models.language.layers import linear_layers
from auditor.testbeds.lineage import codes
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
