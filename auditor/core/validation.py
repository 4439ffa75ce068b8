"""Lines of an error message from what pydantic finds wrong."""

import difflib
from collections.abc import Iterable
from types import UnionType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Keys and positions that lead to a value, the outermost first."""

_VALUE_ERROR = "Value error, "
"""Prefix that pydantic puts before the text of a ValueError."""
_FOLLOWS = "default_factory_not_called"
"""Type of an error that only says that there are others, so that a default is not known."""
_EXPECTED = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "settings by name (`key: value`)",
    "model_type": "settings by name (`key: value`)",
    "model_attributes_type": "settings by name (`key: value`)",
    "string_type": "a text",
}
"""Type of an error to what a user should write, in words that are not Python's."""


def problems(
    error: ValidationError,
    whole: str = "",
    model: type[BaseModel] | None = None,
    place: Place = (),
) -> list[str]:
    """Return one line for each problem in a user's data.

    It says where the problem is, and what is wrong there.

    Args:
        error: What validation raised.
        whole: The place of a problem of the data as a whole.
        model: What was validated; unknown keys then come with the close names that it has.
        place: Where the validated data stand in what the user wrote.
    """
    lines = []
    for entry in error.errors(include_url=False, include_context=False):
        if entry["type"] == _FOLLOWS:
            continue
        named = ".".join(map(str, (*place, *entry["loc"]))) or whole
        said = sentence(entry, model)
        lines.append(f"{named}: {said}" if named else said)
    return lines


def sentence(entry: ErrorDetails, model: type[BaseModel] | None) -> str:
    """Return what is wrong at one place.

    Args:
        entry: The error as pydantic tells it.
        model: What was validated.
    """
    if entry["type"] == "missing":
        return "is missing"
    if entry["type"] in _EXPECTED:
        return f"expected {_EXPECTED[entry['type']]}, found {_named(entry['input'])}"
    if entry["type"] != "extra_forbidden":
        return entry["msg"].removeprefix(_VALUE_ERROR)
    if model is None:
        return "there is no such key"
    known = _fields(model, entry["loc"][:-1])
    hint = did_you_mean(str(entry["loc"][-1]), known)
    return f"there is no such key; {hint or 'the keys are ' + ', '.join(sorted(known))}"


def _named(value: Any) -> str:
    """Name the type of a value as a user knows it."""
    names: tuple[tuple[str, type | UnionType], ...] = (
        ("nothing", type(None)),
        ("a truth value", bool),
        ("a number", int | float),
        ("a text", str),
        ("settings by name", dict),
        ("a list", list | tuple),
    )
    return next((name for name, kind in names if isinstance(value, kind)), "something else")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that suggests the names close to a name.

    It is empty where none is close.
    """
    lower = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), lower, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(f'`{lower[text]}`' for text in close)}?" if close else ""


def _fields(model: type[BaseModel], place: Place) -> set[str]:
    """Names of the fields that the value at a place may have."""
    here = {model}
    for step in place:
        inner = [
            found.model_fields[step].annotation for found in here if step in found.model_fields
        ]
        here = set().union(*map(_models, inner)) if inner else here  # a position, not a name
    return {name for found in here for name in found.model_fields}


def _models(annotation: Any) -> set[type[BaseModel]]:
    """The models within a type, at any depth, and what extends them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}.union(*map(_models, annotation.__subclasses__()))
    return set().union(*map(_models, get_args(annotation)))
