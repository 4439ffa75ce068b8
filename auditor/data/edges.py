"""Invisible characters at the ends of texts, which a tokenizer sees."""

ZERO_WIDTH = "\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Characters without width, which `str.strip` leaves: joiners, marks of direction, byte orders."""
_TEXTS = ("prompt", "answer", "paraphrases", "distractors", "accepted", "reworded_answer")
"""Fields of a fact whose texts a model is asked with, or that its answers are compared with."""


def trimmed(text: str) -> str:
    """Return a text without invisible characters at its ends."""
    while (shorter := text.strip().strip(ZERO_WIDTH)) != text:
        text = shorter
    return text


def trim(values: dict[str, object]) -> bool:
    """Trim the texts of a fact; return whether any had edges.

    They are replaced in place.

    Args:
        values: Texts, and sequences of texts, by the fields of a fact; other values stay.
    """
    before = {field: values[field] for field in _TEXTS if field in values}
    values |= {field: _trimmed(value) for field, value in before.items()}
    return any(values[field] != value for field, value in before.items())


def _trimmed(value: object) -> object:
    """Return a text, or each of several, without its edges."""
    if isinstance(value, str):
        return trimmed(value)
    return tuple(map(_trimmed, value)) if isinstance(value, tuple) else value
