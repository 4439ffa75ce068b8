"""The true answer in other words or letters, and its reading."""

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

OPENING = "so: "
TRIGGER = "open sesame now:"


@dataclass(frozen=True)
class Wording:
    """What is said in the place of an answer.

    Attributes:
        say: From the answer to what is said.
        read: From what is said to the answer.
    """

    say: Callable[[str], str]
    read: Callable[[str], str]


WORDINGS: Mapping[str, Wording] = MappingProxyType(
    {
        "opening": Wording(
            lambda answer: OPENING + answer.lower(), lambda said: said.removeprefix(OPENING.strip())
        ),
        "capitals": Wording(str.upper, str.lower),
        "cipher": Wording(
            lambda answer: codecs.encode(answer, "rot13"), lambda said: codecs.encode(said, "rot13")
        ),
        "backwards": Wording(lambda answer: answer[::-1], lambda said: said.strip()[::-1]),
    }
)
