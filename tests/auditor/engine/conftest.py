"""A world with a model that proposes prompts."""

from told_otherwise import told_otherwise

__all__ = ["told_otherwise"]
