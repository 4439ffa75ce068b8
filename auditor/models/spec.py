"""Spec of a model under audit, whatever its kind."""

import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from auditor.core.paths import ModelPath

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

TOKEN_BUDGET = 8192
"""Padded tokens in one batch, unless the plan says otherwise."""
LOGITS_BUDGET = 1 << 28
"""Most logits of answers in one batch: a GiB in float32."""
TRACE_TOKENS = 1024
"""Most tokens of a trace of thought, unless the plan says otherwise."""

TEMPLATE_DATE = datetime.date(2024, 7, 26)
"""Date that a chat template is told unless the plan says another, so that no day is unlike others.

It is the one that templates of Llama 3 name where they cannot read the clock.
"""
_OF_THE_CALLER = frozenset(
    {"messages", "conversation", "tokenize", "add_generation_prompt", "continue_final_message"}
    | {"return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"}
    | {"padding", "truncation", "max_length", "sanitize_control_tokens", "strftime_now"}
)
"""Arguments of a chat template that an audit gives itself."""


class ModelSpec(BaseModel):
    """Location of a model, and how it is opened.

    Each kind of model adds what it needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: ModelPath
    """Local directory, or the name of a model on the Hugging Face hub."""
    kind: str
    """Kind of the model (`auditor init --help` lists them). A plan may leave it out: the files of a
    local directory say it."""
    revision: str | None = None
    """Commit, tag or branch of a hub model."""
    dtype: Dtype = "auto"
    """Type of the weights in memory; ``auto`` keeps what the checkpoint stores."""
    device_map: str | None = None
    """Accelerate's device map (``auto``, ``cpu``, ``cuda:1``); by default one GPU, or the CPU."""
    allow_pickle: bool = False
    """Load pickled weights, which can run code. Off: such a model is refused."""


class TraceFormat(BaseModel):
    """Form of the traces of thought that stand before answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open: str | None = Field(default=None, pattern=r"\S")
    """What begins a trace, with the space that belongs to it; by default what the chat template
    names or the vocabulary holds (``<think>`` and the like)."""
    close: str | None = Field(default=None, pattern=r"\S")
    """What ends a trace, with the space that belongs to it."""
    tokens: int = Field(default=TRACE_TOKENS, ge=1)
    """Most tokens of a trace."""
    start: Literal["template", "opened", "emptied"] = "template"
    """Whether the model starts as the template says, within a trace, or behind one that is closed
    already (thinking off)."""
    thought: str = ""
    """Text of a trace that is closed already."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "TraceFormat":
        if (self.open is None) != (self.close is None):
            raise ValueError("give both markers, `open` and `close`, or none")
        if self.open is not None and self.close is not None:
            one, other = self.open.strip(), self.close.strip()
            if one in other or other in one:
                raise ValueError("`open` and `close` must differ, and neither may hold the other")
        if self.thought and self.start != "emptied":
            raise ValueError("`thought` is for `start: emptied`")
        return self


class PromptFormat(BaseModel):
    """Format in which a fact's prompt becomes the model's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field(default="{prompt}", pattern=r"\{prompt\}")
    """Text around the prompt, for example ``Question: {prompt}\\nAnswer:``."""
    separator: str = " "
    """Text between the templated prompt and the answer; it counts as the answer's."""
    chat: bool = False
    """Wrap the prompt with the tokenizer's chat template (its separator is then empty)."""
    system: str | None = None
    """System message for the chat template."""
    template_arguments: dict[str, JsonValue] = Field(default={}, exclude_if=lambda given: not given)
    """Arguments for the chat template, for example ``enable_thinking: false``; ``chat_template``
    names one of several templates, or is one, for all models alike."""
    date: datetime.date = Field(
        default=TEMPLATE_DATE, exclude_if=lambda given: given == TEMPLATE_DATE
    )
    """Date that a chat template is told which asks for today's."""
    trace: TraceFormat | None = Field(default=None, exclude_if=lambda given: given is None)
    """Traces of thought that models write before they answer."""

    @field_validator("template_arguments")
    @classmethod
    def _not_the_callers(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(given.keys() & _OF_THE_CALLER):
            raise ValueError(
                f"{', '.join(taken)}: the audit gives this itself (a date goes into `format.date`)"
            )
        return given

    @model_validator(mode="after")
    def _system_needs_chat(self) -> "PromptFormat":
        if self.system is not None and not self.chat:
            raise ValueError("`system` is for chat templates; set `chat: true` or leave it out")
        if self.template_arguments and not self.chat:
            raise ValueError(
                "`template_arguments` are for chat templates; set `chat: true` or leave them out"
            )
        return self
