import pytest

from auditor.core.errors import AuditorError
from auditor.testbeds.recipe import WORLDS, recipe
from auditor.unlearning.registry import METHODS

LATER = {"alt_po", "idk_dpo", "simnpo", "simnpo_gdr", "undial"}
"""Methods that make models of the truth table; the worlds are older, and stay as they are."""


def test_the_contrast_differs_in_lineage_only():
    lineage, contrast = (
        recipe(name).model_dump(exclude={"name", "purpose", "lineage"})
        for name in ("people", "people-full-precision")
    )
    assert lineage == contrast
    assert recipe("people").lineage == "nf4"
    assert recipe("people-full-precision").lineage is None


PEOPLE = [world for world in WORLDS.values() if not world.reasoning]


@pytest.mark.parametrize("world", PEOPLE, ids=lambda world: world.name)
def test_worlds_hold_methods_and_three_retrained_models(world):
    assert {settings.method for settings in world.methods.values()} == METHODS.keys() - LATER
    assert world.retrained == ("retrained-0", "retrained-1", "retrained-2")
    assert len(set(world.seeds)) == 4
    assert world.demo in world.methods


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_shapes_suit_four_bit_kernels(world):
    shape = world.model
    head = shape.hidden_size // shape.heads
    for width in (shape.hidden_size, shape.intermediate_size, shape.heads * head):
        assert width % 128 == 0
    assert shape.key_value_heads * head % 32 == 0
    assert shape.heads % shape.key_value_heads == 0


def test_a_reasoning_world_leaves_the_others_as_they_were():
    assert "reasoning" not in recipe("people").model_dump(mode="json")
    assert recipe("reasoning").model_dump(mode="json")["reasoning"]
    assert recipe("reasoning").demo in recipe("reasoning").methods


def test_digest_moves_with_any_setting():
    world = recipe("people")
    other = world.model_copy(update={"seeds": (0, 1, 3)})
    assert world.digest == recipe("people").digest
    assert other.digest != world.digest
    assert recipe("people-full-precision").digest != world.digest


def test_an_unknown_world_is_named_with_the_known_ones():
    with pytest.raises(AuditorError, match=r"'peeple'.*people, people-full-precision"):
        recipe("peeple")
