"""Facts as the arms of an audit are asked them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from auditor.core.arms import Arm
from auditor.core.facts import SetName
from auditor.core.hashing import digest
from auditor.core.messages import FACTS, Message, message

_SHOWN = 5
"""Most facts that a warning names."""


@dataclass(frozen=True)
class ShownPrompt:
    """A fact's prompt as a model reads it, special tokens included."""

    fact: str
    text: str
    tokens: int


@dataclass(frozen=True)
class ShownTraces:
    """Traces of thought, as files and format tell of them."""

    open: str
    """Marker that begins a trace."""
    close: str
    """Marker that ends it."""
    tokens: int
    """Most tokens of a trace."""
    place: Literal["split", "emptied", "known"]
    """Whether the model may write one before its answer (``split``), starts behind a trace that is
    closed (``emptied``), or has markers in its vocabulary alone (``known``)."""


@dataclass(frozen=True)
class AskedFacts:
    """Digests of the token ids that a model is asked in."""

    facts: Mapping[str, str]
    """Id of each fact to the digest of the ids of its prompts and answers."""
    shown: Mapping[SetName, ShownPrompt]
    """The first prompt of each set."""
    date: str | None = None
    """Date that the chat template was told in the place of today's; None where it asks for none."""
    begun_again: int = 0
    """Facts before which tokenizer and template both put the begin token."""
    begun_within: int = 0
    """Facts whose prompts hold the begin token after other tokens, too."""
    special: tuple[str, ...] = ()
    """Facts whose own texts hold a special token."""
    unread: tuple[str, ...] = ()
    """Arguments that the chat template does not read."""
    traces: ShownTraces | None = None
    """Traces of thought; None where no markers are known."""

    @property
    def digest(self) -> str:
        """Digest over the ids of all facts."""
        return digest(dict(self.facts))


def asking_warnings(asked: Mapping[str, AskedFacts]) -> Iterator[Message]:
    """Yield warnings of how the arms are asked.

    Args:
        asked: What each arm is asked, by arm.
    """
    if not asked:
        return
    for arm, own in asked.items():
        other = [fact for fact, ids in asked[Arm.ORIGINAL].facts.items() if own.facts[fact] != ids]
        if other:
            yield message(
                "facts_read_otherwise",
                quoted=(FACTS,),
                arm=arm,
                count=len(other),
                facts=len(own.facts),
                ids=other[:_SHOWN],
            )
    if doubled := {arm: own.begun_again for arm, own in asked.items() if own.begun_again}:
        yield message("begin_token_twice", arms=list(doubled), facts=max(doubled.values()))
    if within := {arm: own.begun_within for arm, own in asked.items() if own.begun_within}:
        yield message("begin_token_within", arms=list(within), facts=max(within.values()))
    if held := {arm: own.special for arm, own in asked.items() if own.special}:
        facts = list(dict.fromkeys(fact for own in held.values() for fact in own))
        yield message(
            "special_tokens_in_facts",
            quoted=(FACTS,),
            arms=list(held),
            facts=len(facts),
            ids=facts[:_SHOWN],
        )
    if unread := {arm: own.unread for arm, own in asked.items() if own.unread}:
        names = sorted({name for own in unread.values() for name in own})
        yield message("template_arguments_unread", arms=list(unread), arguments=names)
    yield from _trace_warnings(asked)


def _trace_warnings(asked: Mapping[str, AskedFacts]) -> Iterator[Message]:
    """Yield what follows from markers of traces of thought."""
    for traces in dict.fromkeys(own.traces for own in asked.values() if own.traces is not None):
        arms = [arm for arm, own in asked.items() if own.traces == traces]
        markers = [traces.open, traces.close]
        if traces.place == "split":
            yield message("traces_split", arms=arms, markers=markers, tokens=traces.tokens)
        elif traces.place == "emptied":
            yield message("traces_emptied", arms=arms, markers=markers)
        else:
            yield message("traces_known", arms=arms, markers=markers)
