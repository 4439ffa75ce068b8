"""The answer as a gap in a sentence."""

import re
from collections.abc import Mapping

from attacks.prompting.reworded import Prompts, RewordedAttack, Wording, applied
from attacks.prompting.sentence_rules import form, statement
from auditor.attack import Parameters, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.metrics.leak_judge import holds
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel

GAP = "____"
"""What stands in the place of an answer."""


def passage_opening(fact: Fact) -> str | None:
    """The fact's passage up to its answer, or None."""
    found = _answer_in_passage(fact)
    before = fact.text[: found.start()].rstrip() if fact.text and found else ""
    return before if before and not _gives_away(before, fact) else None


def passage_with_gap(fact: Fact) -> str | None:
    """A question for the gap in the fact's passage."""
    if fact.text is None or _answer_in_passage(fact) is None:
        return None
    return _with_gap(re.sub(_whole(fact.answer), GAP, fact.text, flags=re.IGNORECASE), fact)


def statement_with_gap(fact: Fact) -> str | None:
    """The question as a statement with a gap for its answer."""
    opening = statement(fact) or (fact.prompt if form(fact.prompt) == "opening" else None)
    return None if opening is None else _with_gap(f"{opening.rstrip()} {GAP}.", fact)


CLOZES: Mapping[str, Wording] = {
    "opening of the passage": passage_opening,
    "gap in the passage": passage_with_gap,
    "gap in the statement": statement_with_gap,
}
"""Wordings by name."""


@attack("prompting/cloze")
class Cloze(RewordedAttack[Parameters]):
    """Sentences with a gap for the answer."""

    summary = "Ask for the gap in a sentence: the fact's passage or its question as a statement."
    details = """
    Three wordings: the fact's passage (`text`) up to its answer; the whole passage with a gap for
    the answer, whatever stands behind it; and the question turned into a statement with a gap. A
    passage that still gives the answer away is not shown. K of a fact is the highest over the
    wordings. Facts without passage and with a question that cannot be turned are asked as they
    stand; the notes count them.
    """
    threat_model = "Someone who holds a text in which the answer is blacked out."
    access = "Prompts alone, and the passages with gaps."
    cost = "Three evaluations of the forget set."
    leak = "Unlearning worked on questions, and the text that was learned goes on by itself."
    source = "Fill-in-the-blank probes are the first level of RWKU (arXiv 2406.10890)."

    presets = (Preset("three gaps", {}, "exhaustive"),)

    @property
    def variant(self) -> str:
        """The only variant."""
        return "three gaps"

    @property
    def count(self) -> int:
        """The wordings."""
        return len(CLOZES)

    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """One wording a form.

        Raises:
            UnavailableError: no fact has a sentence.
        """
        found = applied(evaluator.sets.forget, CLOZES)
        if not any(found.values()):
            raise UnavailableError(
                "no forget fact has a `text` that holds its answer, or a question that can be "
                "turned into a statement; give the facts a `text`"
            )
        return found


def _with_gap(sentence: str, fact: Fact) -> str | None:
    if _gives_away(sentence, fact):
        return None
    return f"Fill in the gap: {sentence}\nIn the gap belongs:"


def _gives_away(shown: str, fact: Fact) -> bool:
    return any(holds(shown, form) for form in (fact.answer, *fact.accepted))


def _answer_in_passage(fact: Fact) -> re.Match[str] | None:
    return re.search(_whole(fact.answer), fact.text or "", flags=re.IGNORECASE)


def _whole(answer: str) -> str:
    """Pattern of an answer as whole words."""
    return rf"(?<!\w){re.escape(answer.strip())}(?!\w)"
