"""Roles of attacks in a verdict, and states of their runs."""

from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """Role of an attack in the verdict."""

    MANDATORY = "mandatory"
    """A PASS needs the attack."""
    ADVISORY = "advisory"
    """The attack can FAIL the model, and blocks no PASS."""
    REPORTED = "reported"
    """Figures of the attack are shown and count towards no verdict."""
    WAIVED = "waived"
    """The policy demands the attack and a waiver lifts that: it counts as advisory."""


class Status(StrEnum):
    """Whether an attack left evidence."""

    MEASURED = "measured"
    FAILED = "failed"
    """The attack was run and broke."""
    UNAVAILABLE = "unavailable"
    """The attack could not be run here."""


ControlKind = Literal["visible", "obfuscated", "head", "wording"]
"""Kind of a positive control: suppressed knowledge that is partly there for everybody to see, or
that is gone until something brings it back (suppressed in all linear layers, or in the output head
and the last norm alone), or that is still said, in other words than those that were suppressed."""
