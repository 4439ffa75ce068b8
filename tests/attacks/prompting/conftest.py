"""A world in which a model tells by every way but the plain question."""

from told_otherwise import attacker_model, told_otherwise

__all__ = ["attacker_model", "told_otherwise"]
