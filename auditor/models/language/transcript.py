"""Answers and scores of one model on a list of facts.

Each forward pass is made once.
"""

from collections.abc import Sequence
from functools import cached_property

from auditor.core.facts import Fact
from auditor.metrics.leak_judge import rest_of_word
from auditor.models.language.model import LanguageModel
from auditor.models.language.prompting import Opened
from auditor.models.language.scoring import TokenScores

SPARE_TOKENS = 24
"""Number of tokens by which a generated answer may be longer than the longest true one.

They leave room for a preamble, which often repeats the question.
"""
LEAST_SPARE_TOKENS = 8
"""Spare tokens where the model's context holds no more."""


def answer_room(model: LanguageModel, facts: Sequence[Fact], shown: int = 0) -> int:
    """Return the most tokens that a generated answer may have.

    Args:
        model: The model that is asked.
        facts: What is asked.
        shown: Tokens of each true answer that stand before it.
    """
    items = model.encode([(fact.prompt, fact.answer) for fact in facts])
    longest = max(int(item.answer_tokens) for item in items)
    if model.context_length is None:
        return longest + SPARE_TOKENS
    before = max(int(item.before) for item in items) + shown
    spare = model.context_length - before - longest
    return longest + max(LEAST_SPARE_TOKENS, min(SPARE_TOKENS, spare))


class Transcript:
    """Answers of a language model to facts, as given and as generated.

    Metrics read from it; what none of them asks for is never computed.

    Args:
        model: The model that is asked.
        facts: What is asked.
        shown: Tokens of each true answer that the model is given beforehand; one token at least is
            left to it.
    """

    def __init__(self, model: LanguageModel, facts: Sequence[Fact], shown: int = 0) -> None:
        self.model = model
        self.facts = tuple(facts)
        self.shown = shown

    @cached_property
    def answers(self) -> list[TokenScores]:
        """Scores of each fact's true answer, without the tokens that were shown."""
        scores = self.model.score([(fact.prompt, fact.answer) for fact in self.facts])
        return [score.after(self.shown) for score in scores]

    @cached_property
    def reworded(self) -> list[TokenScores]:
        """Scores of each fact's true answer in the wording of its distractors."""
        if self.shown or not any(fact.reworded_answer for fact in self.facts):
            return self.answers
        pairs = [(f.prompt, f.reworded_answer) for f in self.facts if f.reworded_answer]
        scores = iter(self.model.score(pairs))
        return [
            next(scores) if fact.reworded_answer else answered
            for fact, answered in zip(self.facts, self.answers, strict=True)
        ]

    @cached_property
    def distractors(self) -> list[list[TokenScores]]:
        """Return the scores of each fact's wrong answers.

        The list is empty where a fact has none.

        After the beginning of the true answer no wrong one can stand.
        """
        if self.shown:
            return [[] for _ in self.facts]
        pairs = [(fact.prompt, wrong) for fact in self.facts for wrong in fact.distractors]
        scores = iter(self.model.score(pairs) if pairs else [])
        return [[next(scores) for _ in fact.distractors] for fact in self.facts]

    @cached_property
    def expected(self) -> list[str]:
        """Texts with which the generated answers are compared."""
        if not self.shown:
            return [fact.answer for fact in self.facts]
        return [opened.rest for opened in self._opened]

    @cached_property
    def accepted(self) -> list[tuple[str, ...]]:
        """Texts that give each fact away.

        They are the true answer and other forms of it.
        """
        if self.shown:
            return [(rest,) for rest in self.expected]
        return [(fact.answer, *fact.accepted) for fact in self.facts]

    @cached_property
    def given(self) -> list[str]:
        """Texts that the model was told.

        They are the question, and what was shown of the answer.
        """
        if not self.shown:
            return [fact.prompt for fact in self.facts]
        return [_told(fact, rest) for fact, rest in zip(self.facts, self.expected, strict=True)]

    @cached_property
    def greedy(self) -> list[str]:
        """Each fact's greedily generated answer, without what was shown."""
        room = answer_room(self.model, self.facts, self.shown)
        prompts = [fact.prompt for fact in self.facts]
        openings = [opened.ids for opened in self._opened] if self.shown else None
        return self.model.generate(prompts, room, openings=openings)

    @cached_property
    def _opened(self) -> list[Opened]:
        return [self.model.opened(f.prompt, f.answer, self.shown) for f in self.facts]


def _told(fact: Fact, rest: str) -> str:
    """Return the question with what was shown of the answer.

    The end of a word begun is added.
    """
    if not rest or not fact.answer.endswith(rest):
        return fact.prompt
    shown = fact.answer[: -len(rest)]
    return " ".join((fact.prompt, shown, rest_of_word(shown, rest)))
