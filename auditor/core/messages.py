"""Messages: what is to be said, as a code with parameters.

A certificate, evidence and statistics hold messages and no sentences. `reports.messages` makes a
sentence of one where it is shown, so that wording may change without changing a certificate.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

TEXT = "text"
"""Code of a sentence that an earlier release wrote; its one parameter is ``text``."""


FACTS = "ids"
"""Parameter that holds ids of facts, which may be names of people."""


def _empty(names: object) -> bool:
    return not names


class Message(BaseModel):
    """A code and its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    code: str
    """Code of what is said, for example ``residual_above_margin``."""
    params: dict[str, JsonValue] = {}
    """Numbers, names and other messages that belong to it."""
    quoted: tuple[str, ...] = Field(default=(), exclude_if=_empty)
    """Names of the parameters that somebody else wrote (an exception, a model, a file) and that may
    quote a fact. A redacted certificate has digests in their place. Left out where there are
    none."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def nested(self, name: str) -> "Message":
        """Return the message that is a parameter of this one.

        Raises:
            ValueError: the parameter is not a message.
        """
        return Message.model_validate(self.params.get(name))


def message(code: str, *, quoted: tuple[str, ...] = (), **params: Any) -> Message:
    """Make a message.

    Args:
        code: what is said.
        quoted: names of the parameters that somebody else wrote.
        params: JSON values, and messages, which are kept as plain data.
    """
    return Message(code=code, params={n: plain(v) for n, v in params.items()}, quoted=quoted)


def written(text: str) -> Message:
    """Return a sentence of an earlier release as a message."""
    return message(TEXT, text=text)


def naming(said: Message, most: int) -> Message:
    """Return a message that names at most so many facts.

    How many there are is said by it all the same.
    """
    ids = said.params.get(FACTS)
    if not isinstance(ids, list):
        return said
    return said.model_copy(update={"params": said.params | {FACTS: ids[:most]}})


def plain(value: Any) -> Any:
    """Return a value as JSON has it.

    Messages become objects, and tuples become lists.
    """
    if isinstance(value, Message):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def messages_within(value: Any) -> Iterator[Message]:
    """Yield every message in plain data, at any depth.

    The outer ones come first.
    """
    if isinstance(value, dict):
        if is_message(value):
            yield Message.model_validate(value)
        for item in value.values():
            yield from messages_within(item)
    elif isinstance(value, list):
        for item in value:
            yield from messages_within(item)


def is_message(value: object) -> bool:
    """Whether plain data has the form of a message."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("code"), str)
        and isinstance(value.get("params"), dict)
        and value.keys() <= {"code", "params", "quoted"}
    )
