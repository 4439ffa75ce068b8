"""Text that someone else wrote (a model, a data file, a plugin), made fit to be shown.

Escaping for HTML is the template's part, reading markup the terminal library's. This module takes
care of what they leave: characters that cannot be seen, that turn the direction of the text
around, or that a terminal obeys; bytes that are no text; and text that is too long.
"""

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

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
    """The start of a text, visible and escaped for HTML, with a note where it was cut."""

    text: Markup
    note: str | None


def escape_unprintable(text: str) -> str:
    """Return a text with every character that cannot be printed as a backslash escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def quoted(value: object, limit: int = 80) -> str:
    """Return a value as an error may quote it: in ASCII with escapes, and cut."""
    said = ascii(value)[1:-1] if isinstance(value, str) else ascii(value)
    return said if len(said) <= limit else f"{said[:limit]}… (cut)"


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode: halves of surrogate pairs become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def path_text(path: Path) -> str:
    """Return a path as text: bytes of a file's name that are no UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def cut_note(text: str, limit: int) -> str:
    """Return what follows a text of which ``limit`` characters are shown: nothing if all are."""
    return f"… [cut: {limit:,} of {len(text):,} characters]" if len(text) > limit else ""


def visible(text: str) -> str:
    """Return a text with every unseen character as a symbol.

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


def inline(text: str, limit: int = LIMIT) -> str:
    """Return a text for a sentence, an attribute or a cell; not yet escaped."""
    return visible(text[:limit]) + cut_note(text, limit)


def label(text: str, width: int) -> str:
    """Return a text for a figure, in at most ``width`` columns (a wide letter takes two)."""
    shown = visible(text[: width + 1])
    columns = 0
    for position, character in enumerate(shown):
        columns += 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
        if columns > width:
            return shown[: position - 1] + "…"
    return shown


def excerpt(text: str, limit: int = LIMIT) -> Excerpt:
    """Return the first ``limit`` characters of a text, ready to be put in a page."""
    note = None
    if len(text) > limit:
        note = f"cut: the first {limit:,} of {len(text):,} characters are shown"
    return Excerpt(escape(visible(text[:limit])), note)


def block(text: str, limit: int) -> Excerpt:
    """Return a text of many lines, whose line ends our own code made, for a page."""
    lines = (escape(visible(line)) for line in text[:limit].split("\n"))
    return Excerpt(Markup("\n").join(lines), excerpt(text, limit).note)


def _symbol(character: str) -> str:
    code = ord(character)
    if character == "\n":
        return "↵"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"⟨U+{code:04X}⟩"
