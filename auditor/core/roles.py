"""The role of an attack in a verdict, and what became of it."""

from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """Role of an attack in the verdict."""

    MANDATORY = "mandatory"
    """A PASS needs it."""
    ADVISORY = "advisory"
    """It can FAIL the model, and blocks no PASS."""
    REPORTED = "reported"
    """Its figures are shown and count towards no verdict."""
    WAIVED = "waived"
    """The policy demands it and a waiver lifts that: it counts as advisory."""


class Status(StrEnum):
    """Whether an attack left evidence."""

    MEASURED = "measured"
    FAILED = "failed"
    """It was run and broke."""
    UNAVAILABLE = "unavailable"
    """It could not be run here."""


ControlKind = Literal["visible", "obfuscated", "head"]
"""Kind of a positive control: suppressed knowledge that is partly there for everybody to see, or
that is gone until something brings it back: suppressed in all linear layers, or in the output head
and the last norm alone."""
