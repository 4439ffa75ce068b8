"""Foreign text, escaped for the Markdown of GitHub and Hugging Face.

A backslash is not enough. GitHub turns ``@name``, ``#12``, an address or the start of a commit's
digest into a link after the Markdown was read, and draws what stands between dollar signs as a
formula; only a code span is left alone. So a word that holds any of these becomes a code span, and
in every other word the punctuation is written as character references, which start nothing.
"""

import re

from auditor.core.text_safety import inline
from reports.phrases import Phrase

_LINKED = re.compile(
    r"[@#$&`\\<>:]"  # mentions, issues, formulas, references, code, tags, addresses, emoji
    r"|www\.|GH-[0-9]"
    r"|[0-9a-f]{7}",  # the digest of a commit
    re.IGNORECASE,
)
_LABEL_END = re.compile(r"[:,.;]+$")
_MEANINGLESS = frozenset(" ,;%/'(\"")
"""Punctuation without a meaning in Markdown, once what it could pair with is escaped."""
_MEANINGLESS_INSIDE = frozenset(".-):")
"""Punctuation with a meaning at the start of a line only, or already checked by :func:`said`."""


def said(text: str | Phrase, limit: int = 400) -> str:
    """Return a text as one line of Markdown without markup.

    The line is safe both inside a table and outside of it.
    """
    shown = text.inline(limit) if isinstance(text, Phrase) else inline(text, limit)
    return " ".join(_word(word) for word in shown.split(" ") if word)


def code(text: str, limit: int = 300) -> str:
    """Returns a text as a code span on one line.

    The span is safe both inside a table and outside of it.
    """
    shown = inline(text, limit).strip() or "(empty)"
    # a pipe ends a table's cell even inside code, and parsers differ on a backslash before one
    parts = (part for part in re.split(r"(\|)", shown) if part)
    return "".join("&#124;" if part == "|" else _span(part) for part in parts)


def _word(word: str) -> str:
    end = _LABEL_END.search(word)
    start = word[: end.start()] if end else word
    if _LINKED.search(start):
        return code(start, len(start)) + references(word[len(start) :])
    return references(word)


def references(text: str) -> str:
    """Returns a text with its Markdown punctuation as character references."""
    shown: list[str] = []
    for position, character in enumerate(text):
        before = text[position - 1] if position else ""
        follows = before.isalnum() or (bool(before) and before in ")%.")
        numbers_a_list = text[:position].isdecimal() and text[position + 1 : position + 2] in (
            "",
            " ",
        )
        if (
            character.isalnum()
            or not character.isascii()
            or character in _MEANINGLESS
            or (character in _MEANINGLESS_INSIDE and follows and not numbers_a_list)
        ):
            shown.append(character)
        else:
            shown.append(f"&#{ord(character)};")
    return "".join(shown)


def _span(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{pad}{text}{pad}{fence}"
