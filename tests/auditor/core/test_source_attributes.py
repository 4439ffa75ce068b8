import sys
from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from auditor.core.source_attributes import NotLiteralError, class_attributes, named_class


@dataclass(frozen=True)
class Level:
    name: str
    size: int = 1


BASE = '''
raise RuntimeError("nobody may import this")

SIZE = 3

class Root:
    shade = "of the root"

from pydantic import BaseModel, Field

LEAST = SIZE

class Settings(BaseModel):
    size: int = Field(default=SIZE, ge=LEAST)

class Base(Root):
    """Has defaults."""
    settings = Settings
    shape: str = "round"
    levels = (Level("low"), Level("high", size=SIZE))
'''

PLUGIN = """
from typing import Generic
from .base import Settings, Base as B, SIZE as HOW_MANY

from pydantic import field_validator
import heavy_library

Names = tuple[str, ...]
MOST = 2

def check(value):
    if len(value) > MOST:
        raise ValueError("too many places")
    return value

class OwnSettings(Settings):
    places: Names = ()

    @field_validator("places")
    @classmethod
    def _few(cls, value):
        return check(value)

class Needing(Settings):
    size: int = heavy_library.SIZE

class Thing(B, Generic[T]):
    settings = OwnSettings
    needs_more = Needing
    computed_class = type("Made", (), {})
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


def built(package, name, attribute):
    return named_class(f"{package}.plugin:{name}", attribute, f"{package}.base:Root")


def test_a_named_class_is_built_without_its_modules(package):
    settings = built(package, "Thing", "settings")
    assert settings.__name__ == "OwnSettings"
    assert settings(places=("a",)).places == ("a",)
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        settings(size=2)
    with pytest.raises(ValidationError, match="too many places"):
        settings(places=("a", "b", "c"))
    assert built(package, "Computed", "settings").__name__ == "Settings"
    assert built(package, "Thing", "nothing") is None


@pytest.mark.parametrize("attribute", ["needs_more", "computed_class"])
def test_a_class_that_needs_an_import_is_not_built(package, attribute):
    with pytest.raises(NotLiteralError):
        built(package, "Thing", attribute)
