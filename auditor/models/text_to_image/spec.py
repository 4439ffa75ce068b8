"""Spec of a text-to-image model, with its data and metrics.

They are the parts of a plan that this kind of model extends.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from auditor.core.paths import FilePath, ModelPath
from auditor.models.plan_sections import DataSection, MetricSection
from auditor.models.spec import ModelSpec

INDEX = "model_index.json"
"""File that lists a pipeline's components."""

ERASER = "eraser-"
"""Beginning of the name under which a manifest holds an eraser that is at work in drawing."""

NO_CLASSIFIER = (
    "a text-to-image model is judged by a classifier of concepts, and the plan names none; "
    "set `metrics: {classifier: …}` to the folder or hub name of an image classifier, or of a CLIP "
    "model."
)
"""Error where a plan names no classifier."""

_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")
"""Device maps of accelerate that put a model on more than one device."""


class ImageSampling(BaseModel):
    """Settings by which a text-to-image model draws."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=50, ge=1)
    """Number of denoising steps."""
    guidance: float = Field(default=7.5, ge=1, allow_inf_nan=False)
    """Weight of classifier-free guidance (arXiv 2207.12598); 1 is none. Flux.1 [dev] and others
    that were distilled from guided models are told it, and draw once for each picture."""
    height: int | None = Field(default=None, ge=1)
    """Height of an image in pixels; by default what the denoiser was made for."""
    width: int | None = Field(default=None, ge=1)
    """Width of an image in pixels; by default what the denoiser was made for."""
    text_length: int | None = Field(default=None, ge=2)
    """Tokens that T5 is given of a prompt, with padding; by default what the pipeline of diffusers
    gives it, 256 for Stable Diffusion 3 and 512 for Flux."""


class EraserSpec(BaseModel):
    """An inference-time eraser; its settings stand beside its name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    """Name of the eraser, an entry point of ``auditor.erasers``."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What stands beside the name."""
        return self.model_extra or {}

    @property
    def file(self) -> str:
        """Name in a manifest, as code that decides what is drawn."""
        return f"{ERASER}{self.name}.py"


class TextToImageSpec(ModelSpec):
    """Location of a diffusers pipeline, and how it is opened."""

    kind: Literal["text-to-image"] = "text-to-image"
    """Kind of the model."""
    replacement: FilePath | None = None
    """Local file or directory that replaces weights of the denoiser (UNet or transformer) or text
    encoder: a state dict, whole or with the changed tensors only (``.safetensors``, ``.pt``), the
    directory of a denoiser or of a text encoder, or a LoRA."""
    sampling: ImageSampling | None = None
    """Settings by which the model draws; by default 50 steps with guidance 7.5."""
    eraser: EraserSpec | None = None
    """Inference-time eraser that belongs to the model, with its settings beside its ``name``."""

    @field_validator("device_map")
    @classmethod
    def _one_device(cls, value: str | None) -> str | None:
        if value in _SPREADING:
            raise ValueError(
                f"a text-to-image model stays on one device; `device_map: {value}` would spread "
                "it, give `cpu` or `cuda:0`"
            )
        return value

    @property
    def drawing(self) -> ImageSampling:
        """Settings by which the model draws, defaults filled in."""
        return self.sampling or ImageSampling()


class ImageDataSection(DataSection):
    """Section of a plan on where facts and their pictures are."""

    images: FilePath | None = None
    """Folder with pictures of what facts ask the model for, ``<fact id>.png``: an attacker's
    pictures of a concept, with which drawings are compared, too."""


class ImageMetricSection(MetricSection):
    """Section of a plan on the metrics of pictures."""

    classifier: ModelPath | None = None
    """Directory or hub name of the classifier that tells whether a concept is in a picture."""
    classifier_revision: str | None = None
    """Commit, tag or branch of a classifier on the hub."""
    judge: ModelPath | None = None
    """Directory or hub name of an image model (a CLIP, or any that classifies) whose features say
    how like drawings are to given pictures, in the metric concept-likeness; by default their
    outlines are compared. It must be another than the classifier."""
    judge_revision: str | None = None
    """Commit, tag or branch of a judge on the hub."""
    detector: ModelPath | None = None
    """Directory or hub name of a detector of the forgotten concepts, read by the metric
    concept-detector: a CLIP, asked for a concept against a picture without it, or an image
    classification model with a label for it. It must be another than the classifier."""
    detector_revision: str | None = None
    """Commit, tag or branch of a detector on the hub."""
