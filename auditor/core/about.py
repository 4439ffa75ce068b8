"""What whoever made an audit says of it, in free text."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_LONGEST = 400
"""Most characters of a statement, so that a page that shows all of them stays one page."""


def _unsaid(value: object) -> bool:
    return value is None


_Stated = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONGEST)
]


class About(BaseModel):
    """Statements on an audit. Nobody checks them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    title: _Stated | None = Field(default=None, exclude_if=_unsaid)
    """Name of the model under audit, as its readers know it."""
    organisation: _Stated | None = Field(default=None, exclude_if=_unsaid)
    """Who made the model or answers for it."""
    method: _Stated | None = Field(default=None, exclude_if=_unsaid)
    """Method by which it was unlearned."""
    forget: _Stated | None = Field(default=None, exclude_if=_unsaid)
    """What was to be forgotten, in words."""
    prepared_by: _Stated | None = Field(default=None, exclude_if=_unsaid)
    """Who ran the audit."""
    contact: _Stated | None = Field(default=None, exclude_if=_unsaid)
    """Where questions on it go."""
