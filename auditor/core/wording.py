"""Words for messages, from the package that is installed for them."""

from collections.abc import Callable

from auditor.core.messages import Message
from auditor.core.registry import Registry

Wording = Callable[[Message], str]
"""Function that makes a sentence of a message."""

WORDINGS: Registry[Wording] = Registry("wording", group="auditor.messages")
"""Wordings by language."""


def sentence(message: Message, language: str = "english") -> str:
    """Return a message as a sentence.

    Raises:
        AuditorError: no wording of that language is installed.
    """
    return WORDINGS.get(language)(message)
