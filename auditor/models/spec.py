"""What a plan says of a model under audit."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Dtype = Literal["auto", "float32", "float16", "bfloat16"]


class ImageSampling(BaseModel):
    """How a text-to-image model draws."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=50, ge=1)
    """Denoising steps."""
    guidance: float = Field(default=7.5, ge=1, allow_inf_nan=False)
    """Weight of classifier-free guidance (arXiv 2207.12598); 1 is none."""
    height: int | None = Field(default=None, ge=1)
    """Of an image, in pixels; by default what the UNet was made for."""
    width: int | None = Field(default=None, ge=1)
    """The same for its width."""


class ModelSpec(BaseModel):
    """Where a model lies and how it is opened."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """Local directory, or the name of a model on the Hugging Face hub."""
    kind: Literal["causal-lm", "text-to-image"] = "causal-lm"
    """What sort of model it is; of a text-to-image model, ``path`` is a diffusers pipeline."""
    revision: str | None = None
    """Commit, tag or branch of a hub model."""
    adapter: str | None = None
    """Directory or hub name of a PEFT adapter, merged into the weights before the audit."""
    replacement: str | None = None
    """Local file or directory that replaces weights of a text-to-image model's UNet or text
    encoder: a state dict, whole or with the changed tensors only (``.safetensors``, ``.pt``), the
    directory of a UNet or of a text encoder, or a LoRA."""
    sampling: ImageSampling | None = None
    """How a text-to-image model draws; by default 50 steps with guidance 7.5."""
    dtype: Dtype = "auto"
    """Type of the weights in memory; ``auto`` keeps what the checkpoint stores."""
    device_map: str | None = None
    """Accelerate's device map (``auto``, ``cpu``, ``cuda:1``); by default one GPU, or the CPU."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off: such a model is refused."""
    allow_pickle: bool = False
    """Load pickled weights, which can run code. Off: such a model is refused."""

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> "ModelSpec":
        if self.kind == "causal-lm":
            for field in ("replacement", "sampling"):
                if getattr(self, field) is not None:
                    raise ValueError(
                        f"`{field}` is for text-to-image models; set `kind: text-to-image` or "
                        "leave it out"
                    )
            return self
        if self.adapter is not None:
            raise ValueError(
                "`adapter` is for language models; give the LoRA of a text-to-image model as "
                "`replacement`"
            )
        if self.trust_remote_code:
            raise ValueError(
                "a text-to-image model's own code is never run; leave out `trust_remote_code`"
            )
        if self.device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
            raise ValueError(
                f"a text-to-image model stays on one device; `device_map: {self.device_map}` "
                "would spread it, give `cpu` or `cuda:0`"
            )
        return self

    @property
    def drawing(self) -> ImageSampling:
        """How a text-to-image model draws, defaults filled in."""
        return self.sampling or ImageSampling()


class PromptFormat(BaseModel):
    """How a fact's prompt becomes the text that a model sees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field(default="{prompt}", pattern=r"\{prompt\}")
    """Text around the prompt, for example ``Question: {prompt}\\nAnswer:``."""
    separator: str = " "
    """What stands between the templated prompt and the answer; it counts as the answer's."""
    chat: bool = False
    """Wrap the prompt with the tokenizer's chat template (its separator is then empty)."""
    system: str | None = None
    """System message for the chat template."""

    @model_validator(mode="after")
    def _system_needs_chat(self) -> "PromptFormat":
        if self.system is not None and not self.chat:
            raise ValueError("`system` is for chat templates; set `chat: true` or leave it out")
        return self
