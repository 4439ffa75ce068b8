"""Text that someone else wrote (a model, a data file, a plugin), made fit to be shown.

Escaping for HTML is the template's part. This module takes care of what escaping leaves: characters
that cannot be seen, that turn the direction of the text around, or that a terminal obeys; and text
that is too long for a page.
"""

import unicodedata
from dataclasses import dataclass

from markupsafe import Markup, escape

LIMIT = 400
"""Characters of a text that are shown."""

MARKS_IN_A_ROW = 4
"""Combining marks on one letter that are drawn; more climb over the neighbouring lines."""

JOINERS = "\u200c\u200d"
"""Joiners, which Persian, Hindi and emoji cannot be read without; they reorder nothing."""

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories without a picture: controls, formats, surrogates, private, unassigned."""


@dataclass(frozen=True)
class Excerpt:
    """The start of a text, visible and escaped, with a note where it was cut."""

    text: Markup
    note: str | None


def visible(text: str) -> str:
    """Returns the text with every unseen character as a symbol.

    NUL is shown as ``␀``, the escape of a terminal as ``␛``, a line end as ``↵``, a bidi
    override as ``⟨U+202E⟩``, and so on. Nothing is dropped.
    """
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        hidden = category in UNSEEN and character not in JOINERS
        shown.append(_symbol(character) if hidden or marks > MARKS_IN_A_ROW else character)
    return "".join(shown)


def excerpt(text: str, limit: int = LIMIT) -> Excerpt:
    """Returns the first `limit` characters of a text, ready to be put in a page."""
    note = None
    if len(text) > limit:
        note = f"cut: the first {limit:,} of {len(text):,} characters are shown"
    return Excerpt(escape(visible(text[:limit])), note)


def inline(text: str, limit: int = LIMIT) -> str:
    """Returns a text for a sentence, an attribute or a cell; not yet escaped."""
    if len(text) <= limit:
        return visible(text)
    return f"{visible(text[:limit])}… [cut: {limit:,} of {len(text):,} characters]"


def label(text: str, width: int) -> str:
    """Returns a text for a figure, in at most `width` columns (a wide letter takes two)."""
    shown = visible(text[: width + 1])
    columns = 0
    for position, character in enumerate(shown):
        columns += 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
        if columns > width:
            return shown[: position - 1] + "…"
    return shown


def block(text: str, limit: int) -> Excerpt:
    """Returns a text of many lines, of which our own code made the line ends."""
    cut = excerpt(text, limit)
    lines = (escape(visible(line)) for line in text[:limit].split("\n"))
    return Excerpt(Markup("\n").join(lines), cut.note)


def _symbol(character: str) -> str:
    code = ord(character)
    if character == "\n":
        return "↵"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"⟨U+{code:04X}⟩"
