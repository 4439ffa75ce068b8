"""Text and token ids of a prompt, as a model sees them.

It serves every kind of tokenizer.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache

from transformers import PreTrainedTokenizerBase

from auditor.core.errors import AuditorError
from auditor.models.language.traces import (
    SWITCHES,
    Markers,
    closed,
    find_markers,
    named_markers,
    opened,
    state,
)
from auditor.models.spec import PromptFormat

_LACKING = (
    "Give what it lacks in `format.template_arguments` (`chat_template` there names one of "
    "several templates), or set `chat: false` and give a `template`."
)
_CLOCK = "strftime_now"
"""Name under which a chat template reads the clock."""
_DIRECTIVES = "aAbBcdDefFGhHIjmMpSTuUVwWxXyYzZ"
"""Letters of `strftime` whose meaning the C standard fixes."""
_PADDED = "dHIjmMSy"
"""Those that may be written without zeros before them (``%-d``)."""
_SHOWN = 300
"""Most characters of a library's own message that are quoted."""


@dataclass(frozen=True)
class Opened:
    """A prompt with the beginning of its answer."""

    ids: list[int]
    """Token ids from which generation starts."""
    rest: str
    """Rest of the answer, which is to be generated."""


def templated(tokenizer: PreTrainedTokenizerBase, prompt: str, format_: PromptFormat) -> str:
    """Text that the model sees before its answer.

    Raises:
        AuditorError: a chat template is asked for and the tokenizer has none, or it refuses, or a
            trace is to be begun and its markers are not known.
    """
    text = _within_template(tokenizer, format_.template.replace("{prompt}", prompt), format_)
    trace = format_.trace
    if trace is None or trace.start == "template":
        return text
    markers = trace_markers(tokenizer, format_)
    if markers is None:
        raise AuditorError(
            "the plan says how a trace of thought starts, and neither the chat template nor the "
            "vocabulary has markers that are known; give `format.trace.open` and `close`."
        )
    if trace.start == "opened":
        return opened(text, markers)
    return closed(text, markers, trace.thought)


def trace_markers(tokenizer: PreTrainedTokenizerBase, format_: PromptFormat) -> Markers | None:
    """Return the markers of a model's traces of thought, or None."""
    template = template_of(tokenizer, format_) if format_.chat else tokenizer.chat_template
    return find_markers(tokenizer, template if isinstance(template, str) else "", format_.trace)


def expects_trace(tokenizer: PreTrainedTokenizerBase, format_: PromptFormat) -> bool:
    """Whether a trace of thought has its place between prompt and answer.

    It has where the plan gives its markers or says how it starts, where the chat template that
    prompts are put into names them, and where a prompt ends in one. That a vocabulary holds some
    says nothing.
    """
    markers = trace_markers(tokenizer, format_)
    if markers is None or _leaves_place(tokenizer, format_):
        return markers is not None
    return state(templated(tokenizer, "?", format_), markers) != "none"


def _leaves_place(tokenizer: PreTrainedTokenizerBase, format_: PromptFormat) -> bool:
    """Whether the plan or the chat template says that there are traces."""
    trace = format_.trace
    if trace is not None and (trace.open is not None or trace.start != "template"):
        return True
    return named_markers(template_of(tokenizer, format_)) is not None


def before_answer(tokenizer: PreTrainedTokenizerBase, prompt: str, format_: PromptFormat) -> str:
    """Text that stands before an answer that is given.

    Where a trace of thought has its place, it is there and empty, so that no answer is scored or
    trained in the place of a trace.

    Raises:
        AuditorError: As `templated` does.
    """
    text = templated(tokenizer, prompt, format_)
    markers = trace_markers(tokenizer, format_)
    if markers is None:
        return text
    if _leaves_place(tokenizer, format_) or state(text, markers) == "open":
        return closed(text, markers)
    return text


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """Return a pattern of special tokens; None without any."""
    added = (token for token in tokenizer.added_tokens_decoder.values() if token.special)
    texts = {*tokenizer.all_special_tokens, *(token.content for token in added)}
    tokens = sorted((text for text in texts if text.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


def _within_template(tokenizer: PreTrainedTokenizerBase, text: str, format_: PromptFormat) -> str:
    """Return a text within the chat template, if any."""
    if not format_.chat:
        return text
    try:
        return _rendered(tokenizer, text, format_)
    except (MemoryError, AuditorError):
        raise
    except Exception as error:  # a template is a program of somebody else's
        raise _refused(error, _way_out(tokenizer, text, format_)) from error


def _refused(error: Exception, way_out: str) -> AuditorError:
    """Return an error of a chat template that says what to change."""
    said = " ".join(str(error).split())[:_SHOWN]
    return AuditorError(
        f"the chat template cannot be rendered ({type(error).__name__}: {said}). {way_out}"
    )


def template_of(tokenizer: PreTrainedTokenizerBase, format_: PromptFormat) -> str:
    """Return the chat template that prompts are put into; empty without one.

    Raises:
        AuditorError: The tokenizer has none, or several and none of them is the default.
    """
    if not format_.chat:
        return ""
    given = format_.template_arguments.get("chat_template")
    if not tokenizer.chat_template and given is None:
        raise AuditorError(
            "the plan asks for a chat template, but the tokenizer has none; set `chat: false` and "
            "give a `template` instead."
        )
    try:
        return str(tokenizer.get_chat_template(None if given is None else str(given)))
    except ValueError as error:
        raise _refused(error, _LACKING) from error


def names(word: str, template: str) -> bool:
    """Whether a template names a variable."""
    return re.search(rf"\b{re.escape(word)}\b", template) is not None


def reads_clock(tokenizer: PreTrainedTokenizerBase, format_: PromptFormat) -> bool:
    """Whether the chat template asks for today's date."""
    return _CLOCK in template_of(tokenizer, format_)


def _rendered(tokenizer: PreTrainedTokenizerBase, text: str, format_: PromptFormat) -> str:
    messages = [{"role": "system", "content": format_.system}] if format_.system else []
    messages.append({"role": "user", "content": text})
    arguments = dict(format_.template_arguments)
    template = template_of(tokenizer, format_)
    if format_.trace is not None and format_.trace.start != "template":
        switched = [name for name in SWITCHES if names(name, template)]
        arguments |= dict.fromkeys(switched, format_.trace.start == "opened")
    if _CLOCK in template:
        arguments["chat_template"] = f"{pinned_clock(format_.date)}\n{template}"
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **arguments
        )
    )


def _way_out(tokenizer: PreTrainedTokenizerBase, text: str, format_: PromptFormat) -> str:
    """Return what to change where a chat template refuses a prompt."""
    if format_.system is not None:
        try:
            _rendered(tokenizer, text, format_.model_copy(update={"system": None}))
        except Exception:  # noqa: S110 - the template refuses more than the system message
            pass
        else:
            return (
                "It takes no system message: leave out `format.system`, or put it into `template`."
            )
    return _LACKING


@cache
def pinned_clock(day: date) -> str:
    """Return a Jinja macro that stands for ``strftime_now`` on one day.

    Libraries give templates the clock under this name, and give callers no way to set it.
    """
    moment = datetime.combine(day, time())
    said = {f"%{letter}": moment.strftime(f"%{letter}") for letter in _DIRECTIVES}
    said = {f"%-{d}": said[f"%{d}"].lstrip("0") or "0" for d in _PADDED} | said
    pairs = {"%%": "\0", **said, "\0": "%"}
    steps = "".join(f" | replace({json.dumps(a)}, {json.dumps(b)})" for a, b in pairs.items())
    return f"{{% macro {_CLOCK}(format) %}}{{{{ format{steps} }}}}{{% endmacro %}}"


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    """Token ids of a text.

    Args:
        tokenizer: The model's tokenizer.
        text: What is tokenised.
        special: Whether the tokenizer puts its special tokens around it.
    """
    encoding = tokenizer(
        text,
        add_special_tokens=special,
        return_token_type_ids=False,
        return_attention_mask=False,
    )
    return list(encoding["input_ids"])


def without_added_end(tokenizer: PreTrainedTokenizerBase, ids: list[int], text: str) -> list[int]:
    """Return a text's ids without what the tokenizer put behind it.

    What the text itself ends in stays, an end-of-sequence token too.

    Args:
        tokenizer: The model's tokenizer.
        ids: Ids of the text with special tokens around it.
        text: The text.
    """
    bare = token_ids(tokenizer, text, special=False)
    if not bare:
        return ids[:1]
    for added in range(len(ids) - len(bare) + 1):
        if ids[len(ids) - len(bare) - added : len(ids) - added] == bare:
            return ids[: len(ids) - added]
    return ids


def begun_again(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """Return how many of a text's first tokens repeat its begin token.

    A tokenizer that puts one before a text does so, too, where a template wrote one.
    """
    again = 0
    while again + 1 < len(ids) and ids[again] == ids[again + 1]:
        again += 1
    return again if again and ids[0] in tokenizer.all_special_ids else 0
