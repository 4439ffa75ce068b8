import sys
from dataclasses import dataclass

import pytest

from auditor.core.source_attributes import NotLiteralError, class_attributes, class_fields


@dataclass(frozen=True)
class Level:
    name: str
    size: int = 1


BASE = '''
raise RuntimeError("nobody may import this")

SIZE = 3

class Root:
    shade = "of the root"

FILE = Annotated[str, "a file"]

class Settings:
    size: int = 3
    model_config = {}

class Base(Root):
    """Has defaults."""
    settings = Settings
    shape: str = "round"
    levels = (Level("low"), Level("high", size=SIZE))
'''

PLUGIN = """
from typing import Generic
from .base import FILE, Settings, Base as B, SIZE as HOW_MANY

Files = tuple[FILE, ...]

class OwnSettings(Settings):
    counted: ClassVar[int] = 0
    place: FILE | None = None
    places: Files = ()

class Thing(B, Generic[T]):
    settings = OwnSettings
    colour = "red " "and blue"
    count = HOW_MANY
    nested = {"deep": [-1, 2.5, None]}

class Computed(B):
    colour = "-".join("red")

class Property(B):
    @property
    def colour(self):
        return "red"

class Stranger(somewhere.Else):
    pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "literal_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(BASE)
    (folder / "plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "literal_package"
    sys.modules.pop("literal_package", None)


def read(package, name, *wanted):
    root = f"{package}.base:Root"
    return class_attributes(f"{package}.plugin:{name}", wanted, root, {"Level": Level})


def test_literals_constants_and_constructors_are_read_through_bases(package):
    assert read(package, "Thing", "colour", "count", "nested", "shape", "levels") == {
        "colour": "red and blue",
        "count": 3,
        "nested": {"deep": [-1, 2.5, None]},
        "shape": "round",
        "levels": (Level("low"), Level("high", 3)),
    }


def test_the_root_and_what_is_above_it_is_not_read(package):
    assert read(package, "Thing", "shade") == {}


@pytest.mark.parametrize("name", ["Computed", "Property", "Stranger", "Missing"])
def test_what_is_computed_is_not_guessed(package, name):
    with pytest.raises(NotLiteralError):
        read(package, name, "colour")


def test_a_computed_attribute_that_is_not_asked_for_does_no_harm(package):
    assert read(package, "Computed", "shape") == {"shape": "round"}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Thing", {"size": None, "place": "file", "places": "file"}),
        ("Computed", {"size": None}),
    ],
)
def test_fields_of_a_named_class_are_read_with_those_of_its_bases(package, name, fields):
    types = {(f"{package}.base", "FILE"): "file"}
    reference, root = f"{package}.plugin:{name}", f"{package}.base:Root"
    assert class_fields(reference, "settings", root, types) == fields
    assert class_fields(reference, "nothing", root, types) == {}
