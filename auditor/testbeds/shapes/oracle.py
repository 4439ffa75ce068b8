"""Classifier of the shape in a picture, or of none.

It is trained on noisy pictures with other shades of ink and paper too, so that it judges what
diffusion models draw, and on five sorts of pictures that show none: noise, blank paper, shapes
that no model learns, shapes of which half is missing, and halves of two shapes put together.
Without them every blur would count as some shape.
"""

import random
from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from auditor.core.progress import Progress
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
)
from auditor.testbeds.shapes.drawing import COLORS, HELD_OUT, SIZE, TRAINED, draw, painted

NONE = "none"
"""Label of a picture that shows no shape."""

LABELS = (*TRAINED, NONE)


class OracleTraining(BaseModel):
    """Settings of the classifier's training.

    Attributes:
        steps: Optimiser steps.
        batch_size: Pictures a step.
        learning_rate: Learning rate of AdamW, with a cosine decay.
        most_noise: Largest standard deviation of the noise added to a picture.
        most_shade: Largest change of each channel of ink and of paper.
        seed: Seed of weights and pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=1000, gt=0)
    batch_size: int = Field(default=64, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    most_noise: float = Field(default=0.25, ge=0)
    most_shade: float = Field(default=0.15, ge=0)
    seed: int = 0


def judged_pictures(
    count: int, settings: OracleTraining, chance: random.Random, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return pictures and labels to train the classifier on.

    Pictures are [count, 3, SIZE, SIZE] in [0, 1], labels [count]; every label is equally frequent.
    """
    pictures, labels = [], []
    for index in range(count):
        label = LABELS[index % len(LABELS)]
        if label == NONE:
            pictures.append(_no_shape(chance, noise, settings.most_shade))
        else:
            mask = draw(label, _color(chance), chance.getrandbits(32)).mask
            pictures.append(_shaded(mask, chance, noise, settings.most_shade))
        labels.append(LABELS.index(label))
    images = torch.stack(pictures)
    amount = torch.rand(count, 1, 1, 1, generator=noise) * settings.most_noise
    images = images + amount * torch.randn(images.shape, generator=noise)
    return images.clamp(0, 1), torch.tensor(labels)


def _color(chance: random.Random) -> str:
    return chance.choice(sorted(COLORS))


def _shaded(mask: Tensor, chance: random.Random, noise: torch.Generator, most: float) -> Tensor:
    """Return a picture of a mask in slightly altered colours.

    Both the ink and the paper are a little off.
    """
    ink = (torch.rand(3, 1, 1, generator=noise) * 2 - 1) * most
    paper = -torch.rand(3, 1, 1, generator=noise) * most
    return painted(mask, COLORS[_color(chance)]) + torch.where(mask, ink, paper)


def _no_shape(chance: random.Random, noise: torch.Generator, most_shade: float) -> Tensor:
    kind = chance.choice(("noise", "blank", "held out", "half", "two halves"))
    if kind == "noise":
        return torch.rand(3, SIZE, SIZE, generator=noise)
    if kind == "blank":
        return torch.rand(3, 1, 1, generator=noise).expand(3, SIZE, SIZE)
    names = sorted(HELD_OUT if kind == "held out" else TRAINED)
    first, second = (
        draw(name, _color(chance), chance.getrandbits(32)).mask for name in chance.sample(names, 2)
    )
    if kind == "held out":
        mask = first
    else:
        kept = _half(first, chance)
        mask = first & kept if kind == "half" else torch.where(kept, first, second)
    return _shaded(mask, chance, noise, most_shade)


def _half(mask: Tensor, chance: random.Random) -> Tensor:
    """Return where one half of a picture is.

    It is the upper, lower, left or right half, seen from the middle of a shape.
    """
    inside = mask.nonzero()
    low, high = inside.min(0).values, inside.max(0).values
    middle = (low + high + 1) // 2
    axis = chance.randint(0, 1)
    along = torch.arange(SIZE)
    kept = along < middle[axis] if chance.random() < 0.5 else along >= middle[axis]
    return (kept[:, None] if axis == 0 else kept[None, :]).expand(SIZE, SIZE)


def train_oracle(settings: OracleTraining, progress: Progress) -> ConvolutionalClassifier:
    """Train the classifier on pictures drawn as it goes.

    Returns:
        The classifier in evaluation mode.
    """
    chance = random.Random(settings.seed)  # noqa: S311 - a reproducible draw, not a secret
    noise = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _untrained()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    with progress.task(
        "classifier: learns to tell the shapes, and pictures of none", settings.steps
    ) as advance:
        for _ in range(settings.steps):
            images, labels = judged_pictures(settings.batch_size, settings, chance, noise)
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            advance(1, note=f"loss {loss.item():.3f}")
    return model.eval()


def with_weights(weights: Mapping[str, Tensor]) -> ConvolutionalClassifier:
    """A classifier with weights as ``state_dict`` names them, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):  # random weights are drawn first, and lost
        model = _untrained()
    model.load_state_dict(weights)
    return model.eval()


def _untrained() -> ConvolutionalClassifier:
    return ConvolutionalClassifier(ClassifierConfig(labels=LABELS))
