"""What one subject says about a list of facts: each forward pass is made once."""

from collections.abc import Sequence
from functools import cached_property

from auditor.data.fact import Fact
from auditor.subjects.causal_lm import CausalLM
from auditor.subjects.scoring import TokenScores

SPARE_TOKENS = 8
"""Tokens that a generated answer may be longer than the longest true one."""


class Transcript:
    """Answers of a causal language model to facts, as given and as generated.

    Probes read from it; what no probe asks for is never computed.
    """

    def __init__(self, subject: CausalLM, facts: Sequence[Fact]) -> None:
        self.subject = subject
        self.facts = tuple(facts)

    @cached_property
    def answers(self) -> list[TokenScores]:
        """Scores of each fact's true answer."""
        return self.subject.score([(fact.prompt, fact.answer) for fact in self.facts])

    @cached_property
    def distractors(self) -> list[list[TokenScores]]:
        """Scores of each fact's wrong answers; an empty list where it has none."""
        pairs = [(fact.prompt, wrong) for fact in self.facts for wrong in fact.distractors]
        scores = iter(self.subject.score(pairs) if pairs else [])
        return [[next(scores) for _ in fact.distractors] for fact in self.facts]

    @cached_property
    def greedy(self) -> list[str]:
        """Each fact's greedily generated answer."""
        longest = max(self.subject.answer_length(f.prompt, f.answer) for f in self.facts)
        prompts = [fact.prompt for fact in self.facts]
        return self.subject.generate(prompts, longest + SPARE_TOKENS)
