"""A fact: the unit of every audit."""

import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

SetName = Literal["forget", "retain", "holdout"]
"""Sets of facts: `forget` must be gone, `retain` must stay, `holdout` was never seen by any arm."""
SET_NAMES: tuple[SetName, ...] = ("forget", "retain", "holdout")
"""Names of the sets, in their order."""


_BLANK = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode categories of characters that draw nothing."""
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols that draw nothing either."""


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen."""
    return all(unicodedata.category(c) in _BLANK or c in _BLANK_LETTERS for c in text)


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if is_blank(text):
        raise ValueError(f"holds nothing that can be seen ({ascii(text[:8])[1:-1]})")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half a surrogate pair, which is no character")
    return text


def _none(forms: object) -> bool:
    return not forms


Filled = Annotated[str, AfterValidator(_filled)]


class Fact(BaseModel):
    """One thing that a model can know.

    It counts once, however many phrasings it has.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Filled
    """Name of the fact, unique within the audit."""
    entity: Filled = Field(validation_alias=AliasChoices("entity", "subject"))
    """The person, book or concept that the fact belongs to."""
    prompt: Filled
    """What the model is asked."""
    answer: Filled
    """The true answer."""
    paraphrases: tuple[Filled, ...] = ()
    """Other ways to ask for the same answer."""
    distractors: tuple[Filled, ...] = ()
    """Wrong answers of the same form."""
    accepted: tuple[Filled, ...] = Field(default=(), exclude_if=_none)
    """Other forms of the true answer, which give it away, too."""
    reworded_answer: Filled | None = Field(default=None, exclude_if=_none)
    """The true answer in the wording of the distractors, where they are no rewording of
    ``answer``; the truth ratio compares them with it."""
    text: Filled | None = None
    """A verbatim passage that holds the fact."""


class FactSets(BaseModel):
    """The three sets of an audit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    forget: tuple[Fact, ...]
    retain: tuple[Fact, ...] = ()
    holdout: tuple[Fact, ...] = ()

    def named(self, name: SetName) -> tuple[Fact, ...]:
        """The facts of one set."""
        facts: tuple[Fact, ...] = getattr(self, name)
        return facts
