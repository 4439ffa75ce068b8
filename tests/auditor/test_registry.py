import json
import subprocess
import sys

import pytest

from auditor.attack import ATTACKS
from auditor.core.aliases import PARAMETERS
from auditor.core.errors import AuditorError
from auditor.core.registry import Registry
from auditor.engine.expansion import instantiate


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


def test_a_former_name_leads_to_the_item():
    registry = Registry("thing", current={"old": "new"}.get)
    registry.register("new")("item")
    assert registry.get("old") == "item"


def test_built_in_attacks_are_found_through_entry_points():
    families = {name.partition("/")[0] for name in ATTACKS.names()}
    assert families == {
        "generation",
        "membership",
        "none",
        "probing",
        "prompting",
        "quantization",
        "relearning",
        "steering",
        "tampering",
    }
    assert {"quantization/awq", "relearning/benign", "prompting/gcg"} <= set(ATTACKS.names())


def test_what_is_read_from_source_is_what_the_class_says():
    """In a process of its own, where no attack was imported before."""
    code = (
        "import json, sys\n"
        "from auditor.attack import ATTACKS\n"
        "read = {name: repr(ATTACKS.metadata(name)) for name in ATTACKS.names()}\n"
        "types = {name: ATTACKS.parameters_type(name) for name in ATTACKS.names()}\n"
        "parameters = {name: cls.model_json_schema() for name, cls in types.items()}\n"
        "heavy = {'torch', 'transformers', 'numpy'} & sys.modules.keys()\n"
        "print(json.dumps([read, parameters, sorted(heavy)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    read, parameters, heavy = json.loads(done.stdout)
    assert heavy == []
    for name, cls in ATTACKS:
        assert read[name] == repr(ATTACKS.metadata(name)), "once imported, the class is asked"
        assert parameters[name] == cls.parameters_type.model_json_schema()


def test_attacks_are_the_same_without_docstrings():
    code = "from auditor.attack import ATTACKS as a; print([a.metadata(n) for n in a.names()])"
    plain, optimised = (
        subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, check=True).stdout
        for flags in ((), ("-OO",))
    )
    assert plain == optimised


def test_former_names_of_parameters_lead_to_parameters():
    for attack, names in PARAMETERS.items():
        fields = ATTACKS.get(attack).parameters_type.model_fields
        assert set(names.values()) <= fields.keys(), attack
        assert not names.keys() & fields.keys(), attack


def test_a_plan_may_give_parameters_by_their_former_names():
    former = {"allowed": "printable", "length": 5, "split": "subject"}
    parameters = instantiate("prompting/gcg", former).parameters
    assert parameters.allow_non_ascii is True
    assert (parameters.suffix_length, parameters.split) == (5, "entity")
    with pytest.raises(AuditorError, match="leng"):
        instantiate("prompting/gcg", {"leng": 5})
