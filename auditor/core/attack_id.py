"""The identity of an attack at one level."""

from typing import NamedTuple


class AttackId(NamedTuple):
    """An attack's registered name and the name of its level."""

    name: str
    """Registered name, as ``family/name``."""
    variant: str
    """Level or configuration; it is unique within the attack."""

    @property
    def label(self) -> str:
        """``family/name variant``, as plans, policies and readers have it."""
        return f"{self.name} {self.variant}".strip()

    @property
    def family(self) -> str:
        """Family of the attack, which says what the attacker may do.

        It is the part of the name before the slash.
        """
        return self.name.partition("/")[0]

    @classmethod
    def parse(cls, label: str) -> "AttackId":
        """Return the identity of a label.

        A name alone has an empty variant.
        """
        name, _, variant = label.partition(" ")
        return cls(name, variant)
