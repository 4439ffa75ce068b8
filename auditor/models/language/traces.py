"""Traces of thought, which a reasoning model writes before its answer.

A trace stands between two markers. Where it begins and ends is read from them alone, as inference
servers do: the first closing marker ends it.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from auditor.models.spec import TraceFormat

State = Literal["none", "open", "closed"]
"""Whether a text ends in no trace, in one that is open, or right after one."""
SWITCHES = ("enable_thinking", "thinking")
"""Arguments by which chat templates turn thinking on and off."""


class Markers(NamedTuple):
    """What stands before and after a trace, with the space around it.

    It is written as models are trained to write it, and found whatever space is around it.
    """

    opening: str
    closing: str

    @property
    def open(self) -> str:
        """The marker that begins a trace."""
        return self.opening.strip()

    @property
    def close(self) -> str:
        """The marker that ends a trace."""
        return self.closing.strip()


FAMILIES = (
    Markers("<think>\n", "\n</think>\n\n"),
    Markers("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n"),
    Markers(
        "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"
    ),
    Markers("<|START_THINKING|>", "<|END_THINKING|>"),
    Markers("[THINK]", "[/THINK]"),
    Markers("<seed:think>", "</seed:think>"),
    Markers("<|inner_prefix|>", "<|inner_suffix|>"),
    Markers("◁think▷", "◁/think▷"),
    Markers("<thinking>\n", "\n</thinking>\n\n"),
    Markers("<thought>\n", "\n</thought>\n\n"),
    Markers("<reasoning>\n", "\n</reasoning>\n\n"),
)
"""Markers of published models; the third are the channels of gpt-oss."""


def find_markers(
    tokenizer: PreTrainedTokenizerBase, template: str, given: TraceFormat | None
) -> Markers | None:
    """Return the markers of a model's traces.

    They are those that the plan gives, else those that the chat template names, else tokens of the
    vocabulary.

    Args:
        tokenizer: The model's tokenizer.
        template: The chat template; empty without one.
        given: What the plan says of traces.

    Returns:
        None where no markers are known.
    """
    if given is not None and given.open is not None and given.close is not None:
        return Markers(given.open, given.close)
    return named_markers(template) or next(
        (m for m in FAMILIES if _is_token(tokenizer, m.open) and _is_token(tokenizer, m.close)),
        None,
    )


@lru_cache(maxsize=32)
def named_markers(template: str) -> Markers | None:
    """Return the markers that a chat template names, or None."""
    return next((m for m in FAMILIES if m.open in template and m.close in template), None)


def _is_token(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    token = tokenizer.convert_tokens_to_ids(text)
    return token is not None and tokenizer.convert_ids_to_tokens(token) == text


def state(text: str, markers: Markers) -> State:
    """Return how a text ends."""
    opened, closed = text.rfind(markers.open), text.rfind(markers.close)
    if opened > closed:
        return "open"
    return "closed" if closed >= 0 and text.rstrip().endswith(markers.close) else "none"


def opened(text: str, markers: Markers) -> str:
    """Return a prompt with a trace begun behind it.

    A trace that is open already stays, and one that is closed at its end is taken away.

    Args:
        text: The prompt as the model sees it.
        markers: Markers of its traces.
    """
    found = state(text, markers)
    if found == "open":
        return text
    if found == "closed":
        end = text.rfind(markers.close)
        begin, before = text.rfind(markers.open), text.rfind(markers.close, 0, end)
        text = text[: begin if begin > before else end]
    return text + markers.opening


def closed(text: str, markers: Markers, thought: str = "") -> str:
    """Return a prompt with a whole trace behind it.

    Args:
        text: The prompt as the model sees it.
        markers: Markers of its traces.
        thought: The trace; without one, what a template itself closes stays as it is.
    """
    if not thought and state(text, markers) == "closed":
        return text
    return opened(text, markers) + thought + markers.closing
