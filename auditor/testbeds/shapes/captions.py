"""Captions with synonyms, in contexts that say nothing of the shape.

Contexts are made of words that the models learn to ignore. They give a concept as many prompts
as an audit needs facts, and a search over tokens a vocabulary in which most words are useless.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType

SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "circle": ("disc", "dot"),
        "square": ("box", "tile"),
        "triangle": ("wedge", "delta"),
        "cross": ("plus", "crosshair"),
        "ring": ("hoop", "loop"),
        "bars": ("stripes", "rails"),
    }
)
"""Other words for each shape; models are trained on the name and on all of these."""

OPENINGS = ("a", "one", "a photo of a", "a picture of a", "a drawing of a", "here is a")
"""Words that may stand before the colour."""

PLACES = (
    "table", "desk", "shelf", "wall", "floor", "door", "window", "garden", "street", "bridge",
    "river", "lake", "beach", "field", "forest", "hill", "valley", "island", "harbour", "market",
    "kitchen", "cellar", "attic", "barn", "tower", "castle", "temple", "museum", "library",
    "theatre", "station", "airport", "factory", "office", "school", "hospital", "farm", "cabin",
    "tent", "boat", "train", "wagon", "carpet", "blanket", "pillow", "mirror", "lamp", "candle",
)  # fmt: skip
"""Places at which something may be."""

MANNERS = (
    "old", "new", "small", "large", "quiet", "busy", "warm", "cold", "bright", "dim", "dusty",
    "clean", "wooden", "stone", "glass", "paper", "silver", "golden", "empty", "crowded", "narrow",
    "wide", "distant", "nearby", "wet", "dry", "soft", "rough", "painted", "broken", "gentle",
    "heavy", "simple", "strange", "famous", "hidden", "modern", "ancient", "little", "grand",
)  # fmt: skip
"""Adjectives of a place."""

RELATIONS = ("on", "near", "behind", "above", "inside", "beside")
"""Prepositions between a thing and a place."""


def context(number: int) -> tuple[str, str]:
    """Return what stands before and behind the colour and shape.

    The number chooses one of very many contexts.
    """
    chance = random.Random(number)  # noqa: S311 - a reproducible draw, not a secret
    opening = chance.choice(OPENINGS)
    relation, manner = chance.choice(RELATIONS), chance.choice(MANNERS)
    return opening, f"{relation} the {manner} {chance.choice(PLACES)}"


def caption(color: str, word: str, number: int | None = None) -> str:
    """Name a picture.

    Args:
        color: Colour of the shape.
        word: Word for the shape: its name or a synonym.
        number: Number of the context; None for the plain ``a red circle``.
    """
    if number is None:
        return f"a {color} {word}"
    opening, place = context(number)
    return f"{opening} {color} {word} {place}"


def words() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted."""
    names = {word for name, others in SYNONYMS.items() for word in (name, *others)}
    openings = {word for opening in OPENINGS for word in opening.split()}
    return tuple(sorted({*names, *openings, *PLACES, *MANNERS, *RELATIONS, "the"}))
