"""Erased models of shapes, one by each of the published methods.

Every method gets the same prompts: the shape's name and its synonyms in every colour, plain and
in contexts, each beside the same prompt for the anchor, a shape that is drawn instead. Kept
shapes are preserved where a method can preserve. The renderer's masks tell MACE where the shape
is, for which its authors segment images of the original model.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from auditor.core.progress import Progress
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.shapes.captions import SYNONYMS, caption
from auditor.testbeds.shapes.drawing import COLORS, TRAINED, draw
from auditor.unlearning.erasure import (
    EncodedPrompt,
    Erasure,
    MaceConcept,
    MaskedImages,
    Prior,
    encode_prompt,
    esd,
    mace,
    rece,
    second_moment,
    uce,
)
from auditor.unlearning.erasure.settings import (
    ESD_U_TESTBED,
    ESD_X_TESTBED,
    MACE_TESTBED,
    RECE_TESTBED,
    UCE_TESTBED,
    EsdSettings,
    MaceSettings,
    ReceSettings,
    UceSettings,
)

MACE_SHAPES = MACE_TESTBED.model_copy(update={"prior_weight": 1.0})
"""Settings with a stronger prior. With a weaker one, triangles and crosses are lost with the
circles."""


class MaterialRecipe(BaseModel):
    """Recipe of the prompts and pictures that all erasures get.

    Attributes:
        anchor: The shape that is drawn instead. Erasing to the empty prompt would leave what the
            model draws unasked, and that is the erased shape as often as another.
        contexts: Contexts for each word and colour, beside the plain caption.
        pictures: Pictures of the shape, for MACE.
        seed: Seed of contexts and pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    anchor: str = "square"
    contexts: int = Field(default=3, ge=0)
    pictures: int = Field(default=32, gt=0)
    seed: int = 0


class Erasures(BaseModel):
    """Erased models of a world by name, with their settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uce: UceSettings = UCE_TESTBED
    rece: ReceSettings = RECE_TESTBED
    esd_x: EsdSettings = ESD_X_TESTBED
    esd_u: EsdSettings = ESD_U_TESTBED
    mace: MaceSettings = MACE_SHAPES

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the erased models."""
        return tuple(cls.model_fields)


SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "uce": "arXiv:2308.14761",
        "rece": "arXiv:2407.12383",
        "esd_x": "arXiv:2303.07345",
        "esd_u": "arXiv:2303.07345",
        "mace": "arXiv:2403.06135",
    }
)
"""Paper of each method."""


@dataclass(frozen=True)
class Material:
    """Prompts and pictures that all erasures get.

    Attributes:
        erasures: Prompts for the shape, each with the same prompt for the anchor.
        kept: Prompts for the other shapes, and the empty one.
        empty: The empty prompt.
        shown: Pictures of the shape with their masks.
    """

    erasures: tuple[Erasure, ...]
    kept: tuple[EncodedPrompt, ...]
    empty: EncodedPrompt
    shown: MaskedImages


def material(pipeline: PixelPipeline, shape: str, recipe: MaterialRecipe) -> Material:
    """Encode prompts and draw pictures for the erasure of a shape.

    Args:
        pipeline: Pipeline of the original.
        shape: To be forgotten.
        recipe: How much of everything.
    """
    chance = random.Random(recipe.seed)  # noqa: S311 - a reproducible draw, not a secret
    numbers = [None, *(chance.getrandbits(32) for _ in range(recipe.contexts))]

    def encoded(color: str, word: str, number: int | None) -> EncodedPrompt:
        text = caption(color, word, number)
        return encode_prompt(pipeline.tokenizer, pipeline.text_encoder, text, word)

    words = (shape, *SYNONYMS[shape])
    erasures = [
        Erasure(encoded(color, word, number), encoded(color, recipe.anchor, number))
        for word in words
        for color in COLORS
        for number in numbers
    ]
    empty = encode_prompt(pipeline.tokenizer, pipeline.text_encoder, "")
    kept = [
        encoded(color, word, number)
        for other in TRAINED
        if other != shape
        for word in (other, *SYNONYMS[other])
        for color in COLORS
        for number in numbers
    ]
    colors = [chance.choice(sorted(COLORS)) for _ in range(recipe.pictures)]
    drawings = [draw(shape, color, chance.getrandbits(32)) for color in colors]
    shown = MaskedImages(
        images=torch.stack([drawing.image for drawing in drawings]) * 2 - 1,
        prompts=[encoded(color, shape, None) for color in colors],
        masks=torch.stack([drawing.mask for drawing in drawings]),
    )
    return Material(tuple(erasures), (*kept, empty), empty, shown)


def erase(
    name: str, pipeline: PixelPipeline, given: Material, settings: Erasures, progress: Progress
) -> dict[str, Tensor]:
    """Erase by one method.

    Args:
        name: A field of ``Erasures``.
        pipeline: Pipeline of the original; left as it was.
        given: Prompts and pictures.
        settings: Of every method.
        progress: Told about every step.

    Returns:
        The changed tensors of the UNet by name.
    """
    unet, scheduler = pipeline.unet, pipeline.scheduler
    concepts = [erasure.concept for erasure in given.erasures]
    by_name: Mapping[str, Callable[[], dict[str, Tensor]]] = {
        "uce": lambda: uce(unet, given.erasures, given.kept, settings.uce),
        "rece": lambda: rece(unet, given.erasures, given.kept, settings.rece, progress=progress),
        "esd_x": lambda: esd(
            unet, scheduler, concepts, given.empty, settings.esd_x, progress=progress
        ),
        "esd_u": lambda: esd(
            unet, scheduler, concepts, given.empty, settings.esd_u, progress=progress
        ),
        "mace": lambda: mace(
            unet,
            scheduler,
            [MaceConcept(given.erasures, given.shown)],
            Prior(second_moment(torch.cat([prompt.states for prompt in given.kept]))),
            settings.mace,
            progress=progress,
        ),
    }
    return by_name[name]()
