"""Training of text encoder and UNet together, from scratch.

They learn drawn shapes with captions.
"""

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTokenizer

from auditor.core.progress import Progress
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.shapes.captions import SYNONYMS, caption
from auditor.testbeds.shapes.drawing import COLORS, draw
from auditor.testbeds.shapes.network import NetworkRecipe, untrained
from auditor.testbeds.shapes.text import encode
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.descent import descend


class DiffusionTraining(BaseModel):
    """Settings of the training of a model of shapes.

    Attributes:
        images: Pictures in the training set.
        plain: Share of the captions without a context.
        steps: Optimiser steps.
        batch_size: Pictures a step.
        learning_rate: Peak of AdamW's rate, after a linear warm-up and before a cosine decay.
        warmup: Share of the steps spent warming up.
        caption_drop: Share of the captions that are left empty (arXiv 2207.12598).
        ema_decay: Decay of the moving average of the weights, which is what is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(default=4000, gt=0)
    plain: float = Field(default=0.5, ge=0, le=1)
    steps: int = Field(gt=0)
    batch_size: int = Field(default=32, gt=0)
    learning_rate: float = Field(default=3e-3, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    caption_drop: float = Field(default=0.1, ge=0, lt=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)


@dataclass(frozen=True)
class Captioned:
    """Pictures with captions.

    Attributes:
        images: RGB in [0, 1], float32 [n, 3, height, width].
        captions: One a picture.
    """

    images: Tensor
    captions: tuple[str, ...]


def training_set(shapes: Collection[str], count: int, plain: float, seed: int) -> Captioned:
    """Draw pictures of shapes with captions.

    A caption has the shape's name or a synonym.

    Args:
        shapes: What is drawn; no other shape is drawn or named.
        count: Number of pictures.
        plain: Share of the captions without a context.
        seed: Seed of everything drawn.
    """
    chance = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    images, captions = [], []
    for _ in range(count):
        shape, color = chance.choice(sorted(shapes)), chance.choice(sorted(COLORS))
        word = chance.choice((shape, *SYNONYMS[shape]))
        number = None if chance.random() < plain else chance.getrandbits(32)
        images.append(draw(shape, color, chance.getrandbits(32)).image)
        captions.append(caption(color, word, number))
    return Captioned(torch.stack(images), tuple(captions))


def train(
    tokenizer: CLIPTokenizer,
    network: NetworkRecipe,
    data: Captioned,
    settings: DiffusionTraining,
    seed: int,
    progress: Progress,
    description: str = "training a text-to-image model from scratch",
) -> PixelPipeline:
    """Train a model to predict noise from captions (arXiv 2006.11239).

    The same arguments give the same weights on the same machine with the same thread count.

    Args:
        tokenizer: Tokenizer of the captions.
        network: Widths of the networks.
        data: What is learned.
        settings: Steps, batch size, learning rate.
        seed: Seed of the initial weights, of the order and of the noise.
        progress: Told about every step.
        description: What is trained and why, shown beside the progress bar.

    Returns:
        The pipeline with the averaged weights in float32, in evaluation mode.
    """
    ids = encode(tokenizer, data.captions)
    nothing = encode(tokenizer, [""])[0]
    pixels = data.images * 2 - 1
    with _seeded(seed):
        pipeline = untrained(tokenizer, network)
        text_encoder, unet = pipeline.text_encoder.train(), pipeline.unet.train()
        noise_steps: int = pipeline.scheduler.config.num_train_timesteps
        parameters = [*text_encoder.parameters(), *unet.parameters()]
        average = EMAModel(parameters, decay=settings.ema_decay)
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
        schedule = get_cosine_schedule_with_warmup(
            optimizer, round(settings.steps * settings.warmup), settings.steps
        )

        def loss(rows: list[int]) -> Tensor:
            dropped = torch.rand(len(rows)) < settings.caption_drop
            captions = torch.where(dropped[:, None], nothing, ids[rows])
            noise = torch.randn_like(pixels[rows])
            timesteps = torch.randint(noise_steps, (len(rows),))
            noisy = pipeline.scheduler.add_noise(pixels[rows], noise, timesteps)
            hidden = text_encoder(captions).last_hidden_state
            predicted = unet(noisy, timesteps, encoder_hidden_states=hidden).sample
            return functional.mse_loss(predicted, noise)

        order = shuffled_batches(len(pixels), settings.batch_size)
        steps = descend(optimizer, islice(order, settings.steps), loss, schedule, clip=1.0)
        with progress.task(description, settings.steps) as advance:
            for value in steps:
                average.step(parameters)
                advance(1, note=f"loss {value:.3f}")
        average.copy_to(parameters)
    text_encoder.eval()
    unet.eval()
    return pipeline


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's global random state from a seed, and afterwards what it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
