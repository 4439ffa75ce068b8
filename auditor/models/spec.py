"""Spec of a model under audit, whatever its kind."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from auditor.core.paths import ModelPath

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

TOKEN_BUDGET = 8192
"""Padded tokens in one batch, unless the plan says otherwise."""


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

    @model_validator(mode="after")
    def _system_needs_chat(self) -> "PromptFormat":
        if self.system is not None and not self.chat:
            raise ValueError("`system` is for chat templates; set `chat: true` or leave it out")
        return self
