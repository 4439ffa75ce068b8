"""The classifier that says which shape a picture shows, or none.

It is trained on noisy pictures too, so that it judges what diffusion models draw, and on four
sorts of pictures that show none: noise, blank paper, shapes that no model learns, and shapes of
which half is missing. Without them every blur would count as some shape.
"""

import random

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from auditor.progress import Progress
from auditor.subjects.convolutional_classifier import ClassifierConfig, ConvolutionalClassifier
from auditor.testbed.shapes.drawing import COLORS, HELD_OUT, SIZE, TRAINED, draw, painted

NONE = "none"
"""The label of a picture that shows no shape."""

LABELS = (*TRAINED, NONE)


class OracleTraining(BaseModel):
    """How the classifier is trained.

    Attributes:
        steps: Optimiser steps.
        batch_size: Pictures a step.
        learning_rate: Of AdamW, with a cosine decay.
        most_noise: Largest standard deviation of the noise added to a picture.
        seed: Of weights and pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=600, gt=0)
    batch_size: int = Field(default=64, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    most_noise: float = Field(default=0.25, ge=0)
    seed: int = 0


def judged_pictures(
    count: int, most_noise: float, chance: random.Random, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pictures [count, 3, SIZE, SIZE] in [0, 1] and their labels [count], every label as often."""
    pictures, labels = [], []
    for index in range(count):
        label = LABELS[index % len(LABELS)]
        if label == NONE:
            pictures.append(_no_shape(chance, noise))
        else:
            pictures.append(draw(label, _color(chance), chance.getrandbits(32)).image)
        labels.append(LABELS.index(label))
    images = torch.stack(pictures)
    amount = torch.rand(count, 1, 1, 1, generator=noise) * most_noise
    images = images + amount * torch.randn(images.shape, generator=noise)
    return images.clamp(0, 1), torch.tensor(labels)


def _color(chance: random.Random) -> str:
    return chance.choice(sorted(COLORS))


def _no_shape(chance: random.Random, noise: torch.Generator) -> Tensor:
    kind = chance.choice(("noise", "blank", "held out", "half"))
    if kind == "noise":
        return torch.rand(3, SIZE, SIZE, generator=noise)
    if kind == "blank":
        return torch.rand(3, 1, 1, generator=noise).expand(3, SIZE, SIZE)
    shape = chance.choice(sorted(HELD_OUT if kind == "held out" else TRAINED))
    color = _color(chance)
    drawing = draw(shape, color, chance.getrandbits(32))
    if kind == "held out":
        return drawing.image
    return painted(_halved(drawing.mask, chance), COLORS[color])


def _halved(mask: Tensor, chance: random.Random) -> Tensor:
    """A mask without its upper, lower, left or right half."""
    inside = mask.nonzero()
    low, high = inside.min(0).values, inside.max(0).values
    middle = (low + high + 1) // 2
    axis = chance.randint(0, 1)
    along = torch.arange(SIZE)
    kept = along < middle[axis] if chance.random() < 0.5 else along >= middle[axis]
    return mask & (kept[:, None] if axis == 0 else kept[None, :])


def train_oracle(settings: OracleTraining, progress: Progress) -> ConvolutionalClassifier:
    """Train the classifier on pictures drawn as it goes.

    Returns:
        The classifier in evaluation mode.
    """
    chance = random.Random(settings.seed)  # noqa: S311 - a reproducible draw, not a secret
    noise = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = ConvolutionalClassifier(ClassifierConfig(labels=LABELS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    with progress.task(
        "classifier: learns to tell the shapes, and pictures of none", settings.steps
    ) as advance:
        for _ in range(settings.steps):
            images, labels = judged_pictures(
                settings.batch_size, settings.most_noise, chance, noise
            )
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            advance(1, note=f"loss {loss.item():.3f}")
    return model.eval()
