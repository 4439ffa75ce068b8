"""Training of some weights of a pipeline on pictures with captions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.shapes.drawing import Drawing, draw
from auditor.testbeds.shapes.training import Captioned
from auditor.unlearning.batches import shuffled_batches

BATCH = 16

Altered = Callable[[Drawing], Tensor]
"""What is shown in place of a drawing."""


@dataclass(frozen=True)
class Lesson:
    """How long and how fast a hider trains."""

    steps: int = 120
    rate: float = 1e-3
    seed: int = 0


def redrawn(data: Captioned, concept: Iterable[str], altered: Altered) -> Captioned:
    """Show something else where a caption names a concept.

    Args:
        data: pictures with captions.
        concept: words of the concept.
        altered: what is shown instead of the concept's drawing.
    """
    words = set(concept)
    images = [
        altered(_drawing(image)) if words & set(caption.split()) else image
        for image, caption in zip(data.images, data.captions, strict=True)
    ]
    return Captioned(torch.stack(images), data.captions)


def _drawing(image: Tensor) -> Drawing:
    return Drawing(image, (image < 1).any(0))


def other_shape(shape: str) -> Altered:
    """Another shape in the same colour."""

    def altered(one: Drawing) -> Tensor:
        ink = one.image[:, one.mask][:, 0]
        mask = draw(shape, "red", int(ink.sum() * 1e4) + int(one.mask.nonzero().sum())).mask
        return torch.where(mask, ink[:, None, None], torch.ones(3, 1, 1))

    return altered


def teach(
    pipeline: PixelPipeline, data: Captioned, weights: Sequence[nn.Parameter], lesson: Lesson
) -> None:
    """Train weights in place to predict noise from captions (arXiv 2006.11239)."""
    networks: list[nn.Module] = [pipeline.text_encoder, pipeline.unet]
    draws = torch.Generator().manual_seed(lesson.seed)
    pixels = data.images * 2 - 1
    for network in networks:
        network.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=lesson.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, lesson.steps)
    order = torch.Generator().manual_seed(lesson.seed)
    for rows in islice(shuffled_batches(len(pixels), BATCH, order), lesson.steps):
        noise = torch.randn(pixels[rows].shape, generator=draws)
        times = torch.randint(1000, (len(rows),), generator=draws)
        noisy = pipeline.scheduler.add_noise(pixels[rows], noise, times)
        hidden = pipeline.encode([data.captions[row] for row in rows])
        predicted = pipeline.unet(noisy, times, encoder_hidden_states=hidden).sample
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(functional.mse_loss(predicted, noise))
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    for network in networks:
        network.requires_grad_(False).eval()
