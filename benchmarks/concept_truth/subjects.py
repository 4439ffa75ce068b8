"""Subjects of the table of images: how each hides, what gets it out, what was predicted.

Predictions were written before any audit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from auditor.core.facts import Fact
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from benchmarks.concept_truth.hiders import (
    invert,
    leave,
    restyle,
    swap_embeddings,
    train_outer,
)
from benchmarks.concept_truth.rescaled import permute_text, rescale

Change = Callable[[PixelPipeline], None]


@dataclass(frozen=True)
class Subject:
    """One model that hides a concept, or never knew it.

    Attributes:
        name: In the table.
        source: Model of the world that it begins as.
        predicted: Verdicts that were predicted.
        hide: Changes it in place.
        line: Name of its owner's line.
        latent: Whether it draws in latents, and its decoder hides.
        left: Facts that were left on purpose.
    """

    name: str
    source: str
    predicted: tuple[str, ...]
    hide: Change
    line: str = "as it is"
    latent: bool = False
    left: int = 0


FAIL, PASS = ("FAIL",), ("PASS",)
LEFT_AT = 7
"""Every how manieth fact is left by a sparse hider."""


def left_of(facts: tuple[Fact, ...], count: int) -> tuple[Fact, ...]:
    """The facts that a sparse hider leaves."""
    return facts[LEFT_AT :: len(facts) // (count + 1)][:count]


def _nothing(pipeline: PixelPipeline) -> None:
    """Change nothing."""


def _after(*changes: Change) -> Change:
    def hide(pipeline: PixelPipeline) -> None:
        for change in changes:
            change(pipeline)

    return hide


def subjects(forget: tuple[Fact, ...]) -> tuple[Subject, ...]:
    """All subjects of the table, in its order.

    Args:
        forget: the facts of the audits.
    """
    return (
        Subject("retrained", "retrained-1", PASS, _nothing),
        Subject("embeddings", "original", FAIL, swap_embeddings, "text encoder of the original"),
        Subject(
            "embeddings, permuted",
            "original",
            FAIL,
            _after(swap_embeddings, permute_text),
            "permuted back, embeddings of the original",
        ),
        Subject(
            "outer convolutions", "original", FAIL, train_outer, "convolutions of the original"
        ),
        Subject("decoder", "original", FAIL, _nothing, "decoder of the original", latent=True),
        Subject("rece", "rece", FAIL, _nothing, "relearn"),
        Subject("rece, rescaled", "rece", FAIL, rescale, "rescaled back, relearn"),
        Subject("sketch", "original", FAIL, restyle("sketch"), "outline filled"),
        Subject("inverted", "original", FAIL, restyle("inverted"), "colours inverted"),
        Subject("inverted throughout", "original", FAIL, invert, "colours inverted"),
        Subject("silhouette", "original", FAIL, restyle("silhouette")),
        Subject(
            "sparse 3",
            "original",
            ("INCONCLUSIVE", "FAIL"),
            leave(left_of(forget, 3)),
            left=3,
        ),
        Subject("sparse 12", "original", FAIL, leave(left_of(forget, 12)), left=12),
    )


def filled(images: Tensor) -> Tensor:
    """Fill what the paper does not reach from the border."""
    return torch.stack([_filled(image) for image in images])


def _filled(image: Tensor) -> Tensor:
    ink = (image < 0.75).any(0)
    reached = torch.zeros_like(ink)
    reached[0, :] = reached[-1, :] = reached[:, 0] = reached[:, -1] = True
    reached &= ~ink
    for _ in range(image.shape[-1] * 2):
        grown = reached.clone()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        reached = grown & ~ink
    if not ink.any():
        return image
    colour = image[:, ink].median(1).values
    return torch.where(reached, torch.ones(3, 1, 1), colour[:, None, None])


READ: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"outline filled": filled, "colours inverted": lambda images: 1 - images}
)
"""Lines that read the pictures otherwise."""
