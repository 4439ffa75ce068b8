"""Foreign text, made fit to be shown.

It was written by a model, a data file or a plugin.

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
"""Most characters of a text that are shown."""

MARKS_IN_A_ROW = 4
"""Most combining marks that are drawn on one letter; more reach into the neighbouring lines."""

JOINERS = "\u200c\u200d"
"""Joiners, which Persian, Hindi and emoji cannot be read without; they reorder nothing."""

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that are not visible: controls, formats, surrogates, private, unassigned."""


@dataclass(frozen=True)
class Excerpt:
    """Start of a text, visible and escaped for HTML.

    A note says where the text was cut.
    """

    text: Markup
    note: str | None


def escape_unprintable(text: str) -> str:
    """Return a text with unprintable characters as backslash escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def quoted(value: object, limit: int = 80) -> str:
    """Return a value as an error may quote it.

    It is in ASCII with escapes, and cut.
    """
    said = ascii(value)[1:-1] if isinstance(value, str) else ascii(value)
    return said if len(said) <= limit else f"{said[:limit]}… (cut)"


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode.

    Halves of surrogate pairs become escapes.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def path_text(path: Path) -> str:
    """Return a path as text.

    Bytes of a file's name that are no UTF-8 become escapes.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def cut_note(text: str, limit: int) -> str:
    """Return the note that follows a cut text.

    Of the text ``limit`` characters are shown; the note is empty if these are all.
    """
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
    """Return a text on one line, not yet escaped.

    It is fit for a sentence, an attribute or a cell.
    """
    return visible(text[:limit]) + cut_note(text, limit)


def label(text: str, width: int) -> str:
    """Return a text for a figure, in at most ``width`` columns.

    A wide letter takes two columns.
    """
    shown = visible(text[: width + 1])
    columns = 0
    for position, character in enumerate(shown):
        columns += 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
        if columns > width:
            return shown[: position - 1] + "…"
    return shown


def excerpt(text: str, limit: int = LIMIT) -> Excerpt:
    """Return the first ``limit`` characters of a text for a page."""
    note = None
    if len(text) > limit:
        note = f"cut: the first {limit:,} of {len(text):,} characters are shown"
    return Excerpt(escape(visible(text[:limit])), note)


def block(text: str, limit: int) -> Excerpt:
    """Return a text of many lines for a page.

    Its line ends were made by our own code.
    """
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
