"""Texts that someone else wrote, made fit for a terminal."""

from rich.text import Text

LIMIT = 200
"""Characters of a text that are shown."""


def foreign(text: str, limit: int = LIMIT, style: str = "") -> Text:
    """Returns a text that rich neither reads as markup nor hands to the terminal as orders.

    Characters that cannot be seen, that turn the direction of the text around or that a terminal
    obeys are shown as escapes; what is too long is cut, and it is said that it was.
    """
    cut = f"… [cut: {limit:,} of {len(text):,} characters]" if len(text) > limit else ""
    return Text(inert(text[:limit]) + cut, style)


def inert(text: str) -> str:
    """Returns a text with every character that cannot be printed as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
