"""The arms of an audit: the models, by their part in it."""

import re
from typing import ClassVar, Literal, get_args

_NUMBERED = re.compile(r"(?:retrained|reference)-([0-9]{1,9})")

World = Literal["", "null", "check", "check-null"]
"""Facts that stand in the place of the forget set while a model is asked. The empty name is the
forget set itself. `null`: facts that stand for what is not known. `check` and `check-null`: the
same for facts that no model saw, by which the null is checked."""
_PREFIXED = tuple(sorted((w for w in get_args(World) if w), key=len, reverse=True))


class Arm(str):
    """Name of a model in its role.

    Names are ``unlearned``, ``original``, ``retrained-0``, ``reference-0`` and so on; a model that
    is asked other facts than the forget set has their world before its name: ``null-unlearned``.

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

    @classmethod
    def reference(cls, number: int) -> "Arm":
        """Return the arm of a reference model, counted from 0."""
        return cls(f"reference-{number}")

    def within(self, world: World) -> "Arm":
        """Return the arm of this model in a world."""
        return Arm(f"{world}-{self.model}") if world else self.model

    @property
    def world(self) -> World:
        """World whose facts it is asked."""
        found = (world for world in _PREFIXED if self.startswith(f"{world}-"))
        return next(found, "")

    @property
    def model(self) -> "Arm":
        """The arm of the same model asked the forget set."""
        world = self.world
        return Arm(self[len(world) + 1 :]) if world else self

    @property
    def is_retrained(self) -> bool:
        """Whether it is a baseline model asked the forget set.

        It is neither the unlearned nor the original model.
        """
        return not self.world and self not in (Arm.UNLEARNED, Arm.ORIGINAL)

    @property
    def is_reference(self) -> bool:
        """Whether it is a reference model, asked the forget set."""
        return self.startswith("reference-")

    @property
    def number(self) -> int | None:
        """Number of a retrained or reference model; None for every other arm."""
        found = _NUMBERED.fullmatch(self.model)
        return int(found[1]) if found else None

    @property
    def place(self) -> tuple[int, int, str]:
        """Sort key: unlearned, original, then the retrained models by number.

        Models asked other facts come after all that are asked the forget set.
        """
        model, after = self.model, 4 * get_args(World).index(self.world)
        if model in (Arm.UNLEARNED, Arm.ORIGINAL):
            return after + (0 if model == Arm.UNLEARNED else 1), 0, ""
        number = self.number
        return (after + 2, number, "") if number is not None else (after + 3, 0, str(model))


Arm.UNLEARNED = Arm("unlearned")
Arm.ORIGINAL = Arm("original")
