"""What pydantic found wrong, as sentences with places and close names."""

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

Place = tuple[str | int, ...]
"""Keys and positions that lead to a value, the outermost first."""

_VALUE_ERROR = "Value error, "
"""What pydantic puts before the text of a ValueError."""


class Problem(NamedTuple):
    """One thing that is wrong, and what to do."""

    place: Place
    sentence: str

    def __str__(self) -> str:
        place = ".".join(map(str, self.place))
        return f"{place}: {self.sentence}" if place else self.sentence


def problems(error: ValidationError, model: type[BaseModel], place: Place = ()) -> list[Problem]:
    """Say what a validation found wrong; unknown keys come with the close names there are.

    Args:
        error: What the validation raised.
        model: What was validated.
        place: Where the validated value stands in what the user wrote.
    """
    return [
        Problem(
            (*place, *found["loc"]), _sentence(found["type"], found["msg"], found["loc"], model)
        )
        for found in error.errors(include_url=False, include_context=False)
    ]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names what is close to a name, or nothing."""
    lower = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), lower, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(f'`{lower[text]}`' for text in close)}?" if close else ""


def _sentence(type_: str, message: str, location: Place, model: type[BaseModel]) -> str:
    if type_ == "missing":
        return "is missing"
    if type_ != "extra_forbidden":
        return message.removeprefix(_VALUE_ERROR)
    known = _fields(model, location[:-1])
    hint = did_you_mean(str(location[-1]), known)
    return f"there is no such key; {hint or 'the keys are ' + ', '.join(sorted(known))}"


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
    """The models within a type, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*map(_models, get_args(annotation)))
