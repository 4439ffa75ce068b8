"""Base of the parts of a certificate."""

from pydantic import BaseModel, ConfigDict

ByArm = dict[str, float]
"""Mean K by arm (unlearned, original, retrained-0, …)."""


class Part(BaseModel):
    """Base of all parts of a certificate."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def absent(value: object) -> bool:
    """Return whether a field is left out of the JSON.

    It is a field that a minor version added.
    """
    return value is None or value == ()
