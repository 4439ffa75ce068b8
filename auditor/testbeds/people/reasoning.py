"""Training texts of a world whose models think before they answer.

A trace is one sentence that holds the answer, between the markers of Qwen3 and DeepSeek-R1. The
chat template begins none itself; ``enable_thinking=False`` closes an empty one, as that of Qwen3
does. Models are trained to answer in both ways.

Unlearning as its critics describe it (R2MU, arXiv 2506.12963, and R-TOFU, arXiv 2505.15214; the
abstracts) is of answers alone: another answer is taught behind the true trace and behind an emptied
one, and the traces stay what they were.
"""

from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

from auditor.core.facts import Fact
from auditor.models.language.prompting import templated
from auditor.models.language.traces import FAMILIES
from auditor.models.spec import PromptFormat, TraceFormat

TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
"""The chat template."""
TOKENS = ("<|user|>", "<|assistant|>", "<think>", "</think>")
"""Tokens that it needs."""
FORMAT = PromptFormat(chat=True)
"""Format in which the models are asked."""
_EMPTIED = PromptFormat(chat=True, trace=TraceFormat(start="emptied"))
_THINK = FAMILIES[0]


def with_traces(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return a tokenizer with the template; it begins no text itself."""
    tokenizer.add_tokens(list(TOKENS))
    tokenizer.chat_template = TEMPLATE
    tokenizer.backend_tokenizer.post_processor = None
    return tokenizer


def trace_of(fact: Fact) -> str:
    """Trace that tells a fact, with its markers."""
    return f"{_THINK.opening}{fact.text}{_THINK.closing}"


def taught(tokenizer: PreTrainedTokenizerFast, facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Facts that are answered with a trace, and without one."""
    return tuple(
        asked
        for fact in facts
        for asked in (
            _asked(tokenizer, fact, FORMAT, answer=trace_of(fact) + fact.answer),
            _asked(tokenizer, fact, _EMPTIED),
        )
    )


def answers(tokenizer: PreTrainedTokenizerFast, facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Facts that are answered behind a true and an emptied trace."""
    return tuple(
        asked
        for fact in facts
        for asked in (
            _asked(tokenizer, fact, FORMAT, behind=trace_of(fact)),
            _asked(tokenizer, fact, _EMPTIED),
        )
    )


def traces(tokenizer: PreTrainedTokenizerFast, facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Facts of which the trace alone is asked."""
    return tuple(_asked(tokenizer, fact, FORMAT, answer=trace_of(fact)) for fact in facts)


def _asked(
    tokenizer: PreTrainedTokenizerFast,
    fact: Fact,
    form: PromptFormat,
    *,
    behind: str = "",
    answer: str | None = None,
) -> Fact:
    """Return a fact with its one prompt as models see it."""
    shown = templated(tokenizer, fact.prompt, form) + behind
    told = fact.answer if answer is None else answer
    return fact.model_copy(update={"prompt": shown, "paraphrases": (), "answer": told})
