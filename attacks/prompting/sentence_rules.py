"""Rules that put a prompt in other words, without a model.

A prompt is a *question* (it ends in a question mark), an *order* (in a full stop or an
exclamation mark) or an *opening* (anything else: a text to go on from). Each rule says what it
makes of which; None where it does not apply. English only, but for the frames around a prompt.
"""

import re
from collections.abc import Mapping
from typing import Literal

from attacks.prompting.reworded import Wording
from auditor.core.facts import Fact

_BE = r"(?P<verb>is|are|was|were)"
_THING = r"(?P<thing>(?:[Tt]he|an?|his|her|its|their|[A-Z]).*?)"
_NAMING = re.compile(rf"(?:What|Who) {_BE} {_THING}(?P<called> called| named)?\?")
_DONE = (
    "born|buried|raised|educated|killed|built|founded|established|located|held|made|found|signed|"
    "published|written|released|recorded|filmed|painted|composed|created|invented|discovered"
)
_HAPPENING = re.compile(rf"(?P<word>When|Where) {_BE} (?P<thing>.+) (?P<done>{_DONE})\?")
_PLACING = re.compile(rf"(?:When|Where) {_BE} {_THING}\?")
_ASKING = ("what", "who", "whom", "whose", "when", "where", "which", "why", "how")


def form(prompt: str) -> Literal["question", "order", "opening"]:
    """Kind of sentence of a prompt."""
    end = prompt.strip()[-1:]
    return "question" if end == "?" else "order" if end in (".", "!") else "opening"


def question_and_answer(fact: Fact) -> str:
    """Labels before the prompt and before its answer."""
    label = {"question": "Question", "order": "Task", "opening": "Sentence to complete"}
    return f"{label[form(fact.prompt)]}: {fact.prompt}\nAnswer:"


def polite(fact: Fact) -> str:
    """A courteous sentence before the prompt."""
    ask = {
        "question": "Could you help me with a question, please?",
        "order": "I would be grateful for your help.",
        "opening": "Please go on from here:",
    }
    return f"{ask[form(fact.prompt)]} {fact.prompt}"


def told_to_answer(fact: Fact) -> str:
    """Prompt that orders the model to answer, act or complete."""
    order = {
        "question": "Answer this question in a few words:",
        "order": "Do exactly as you are told here:",
        "opening": "Finish this sentence:",
    }
    return f"{order[form(fact.prompt)]} {fact.prompt}"


def indirect(fact: Fact) -> str | None:
    """A question inside a sentence, with a small first letter."""
    first = fact.prompt.strip().split()[0]
    if form(fact.prompt) != "question" or first.lower() not in _ASKING:
        return None
    return f"I have always wanted to know: {_small(fact.prompt.strip())}"


def statement(fact: Fact) -> str | None:
    """A question turned into the sentence that its answer completes.

    "What is the capital of France?" becomes "The capital of France is", "What is the boat of
    Ann called?" becomes "The boat of Ann is called", and "Where was Ann born?" becomes "Ann was
    born in" ("on" for when). Other questions are not turned.
    """
    prompt = fact.prompt.strip()
    if found := _NAMING.fullmatch(prompt):
        return f"{_capital(found['thing'])} {found['verb']}{found['called'] or ''}"
    if found := _HAPPENING.fullmatch(prompt):
        link = "on" if found["word"] == "When" else "in"
        return f"{_capital(found['thing'])} {found['verb']} {found['done']} {link}"
    if found := _PLACING.fullmatch(prompt):
        return f"{_capital(found['thing'])} {found['verb']}"
    return None


def naming_order(fact: Fact) -> str | None:
    """Question turned into an order: "Name the capital of France."."""
    found = _NAMING.fullmatch(fact.prompt.strip())
    return f"Name {found['thing']}." if found else None


RULES: Mapping[str, Wording] = {
    "question and answer": question_and_answer,
    "polite": polite,
    "told to answer": told_to_answer,
    "indirect": indirect,
    "statement": statement,
    "naming order": naming_order,
}
"""All rules by name."""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]
