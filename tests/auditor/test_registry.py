import pytest

from auditor.attack import ATTACKS
from auditor.core.errors import AuditorError
from auditor.core.registry import Registry


@pytest.fixture
def registry():
    registry = Registry("thing")

    @registry.register("family/alpha")
    class Alpha:
        pass

    return registry


@pytest.mark.parametrize("name", ["family/alhpa", "alpha", "familly/alpha", "ALPHA"])
def test_close_names_are_suggested(registry, name):
    with pytest.raises(AuditorError, match="Did you mean family/alpha"):
        registry.get(name)


def test_nothing_is_suggested_for_something_else(registry):
    with pytest.raises(AuditorError) as error:
        registry.get("zzz")
    assert "Did you mean" not in str(error.value)
    assert "Known: family/alpha" in str(error.value)


def test_two_items_of_one_name_collide(registry):
    with pytest.raises(AuditorError, match="two things are called 'family/alpha'"):

        @registry.register("family/alpha")
        class Beta:
            pass


def test_registering_the_same_item_again_is_harmless(registry):
    item = registry.get("family/alpha")
    assert registry.register("family/alpha")(item) is item


def test_built_in_attacks_are_found_through_entry_points():
    families = {name.partition("/")[0] for name in ATTACKS.names()}
    assert families == {
        "none",
        "quantization",
        "relearning",
        "prompting",
        "tampering",
        "membership",
        "probing",
        "steering",
        "generation",
    }
    assert {"quantization/awq", "relearning/benign", "prompting/gcg"} <= set(ATTACKS.names())
