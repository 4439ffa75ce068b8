"""The arms of an audit: the models, by their part in it."""

import re
from typing import ClassVar

_NUMBERED = re.compile(r"retrained-([0-9]{1,9})")


class Arm(str):
    """Name of a model in its role.

    Names are ``unlearned``, ``original``, ``retrained-0`` and so on.

    It is the text itself, so that tables, JSON and files hold it as such. A name that is none of
    these is taken for a baseline without a number, and comes after the others.
    """

    __slots__ = ()

    UNLEARNED: ClassVar["Arm"]
    ORIGINAL: ClassVar["Arm"]

    @classmethod
    def retrained(cls, number: int) -> "Arm":
        """Return the arm of a retrained model, counted from 0."""
        return cls(f"retrained-{number}")

    @property
    def is_retrained(self) -> bool:
        """Whether it is a baseline: neither the unlearned nor the original model."""
        return self not in (Arm.UNLEARNED, Arm.ORIGINAL)

    @property
    def number(self) -> int | None:
        """Number of a retrained model; None for every other arm."""
        found = _NUMBERED.fullmatch(self)
        return int(found[1]) if found else None

    @property
    def place(self) -> tuple[int, int, str]:
        """Sort key: unlearned, original, then the retrained models by number."""
        if not self.is_retrained:
            return (0 if self == Arm.UNLEARNED else 1), 0, ""
        number = self.number
        return (2, number, "") if number is not None else (3, 0, str(self))


Arm.UNLEARNED = Arm("unlearned")
Arm.ORIGINAL = Arm("original")
