"""Scored texts of facts, with their token scores as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.models.language.model import LanguageModel
from auditor.models.language.scoring import TokenScores

TextKind = Literal["answer", "passage"]
"""answer: the answer given its prompt. passage: the whole text by itself."""

LEAST_HOLDOUT = 10
"""Holdout facts below which no placement says anything."""

_COLUMNS = tuple(field.name for field in fields(TokenScores))


class ScoredTexts:
    """The forget and the holdout facts as texts to score.

    A passage is the fact's verbatim ``text`` where every fact of both sets has one, and prompt
    and answer otherwise: the two sets must not differ in form.

    Raises:
        UnavailableError: there are too few holdout facts.
    """

    def __init__(self, sets: FactSets, kind: TextKind) -> None:
        if len(sets.holdout) < LEAST_HOLDOUT:
            raise UnavailableError(
                "membership is told against facts that no model has seen; give a holdout set of "
                f"the forget set's kind (`data: holdout:`) of at least {LEAST_HOLDOUT} facts"
            )
        self.kind = kind
        self._verbatim = all(fact.text for fact in (*sets.forget, *sets.holdout))

    def pair(self, fact: Fact) -> tuple[str, str]:
        """Given text and scored text of a fact."""
        return (fact.prompt, fact.answer) if self.kind == "answer" else ("", self.whole(fact))

    def scored(self, fact: Fact) -> str:
        """Scored text of a fact."""
        return self.pair(fact)[1]

    def whole(self, fact: Fact) -> str:
        """Return the text that the model sees, without a template."""
        verbatim = self.kind == "passage" and self._verbatim
        return str(fact.text) if verbatim else f"{fact.prompt} {fact.answer}"

    def score(self, model: LanguageModel, facts: Sequence[Fact]) -> list[TokenScores]:
        """Scores of each fact's text."""
        return model.score([self.pair(fact) for fact in facts])

    def score_after(
        self, model: LanguageModel, facts: Sequence[Fact], prefix: str
    ) -> list[TokenScores]:
        """The same after other text: before the prompt, or before the passage."""
        if self.kind == "answer":
            return model.score([(prefix + fact.prompt, fact.answer) for fact in facts])
        shown = model.encode([("", prefix)])[0].answer_tokens
        scores = model.score([("", prefix + self.whole(fact)) for fact in facts])
        return [score.after(shown) for score in scores]


def packed(name: str, scores: Sequence[TokenScores]) -> dict[str, npt.NDArray[np.generic]]:
    """Token scores as a few flat arrays under ``name``."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        f"{name}/{column}": np.concatenate([getattr(score, column) for score in scores])
        for column in _COLUMNS
    }
    arrays[f"{name}/tokens"] = np.array([len(s.log_probability) for s in scores], dtype=np.int64)
    return arrays


def unpacked(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> list[TokenScores]:
    """Return the token scores that were packed under ``name``."""
    ends = np.cumsum(arrays[f"{name}/tokens"])[:-1]
    columns = [np.split(arrays[f"{name}/{column}"], ends) for column in _COLUMNS]
    return [TokenScores(*row) for row in zip(*columns, strict=True)]
