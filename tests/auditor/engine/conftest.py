"""Worlds in which every attack is asked, one with a model that proposes prompts."""

from every_attack import built_worlds
from told_otherwise import told_otherwise

__all__ = ["built_worlds", "told_otherwise"]
