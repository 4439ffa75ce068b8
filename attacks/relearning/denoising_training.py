"""Fine-tuning of a denoiser on pictures with their prompts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from attacks.prompting.concepts.noise_matching import clean_inputs, denoising_loss, half_scale
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import Learner, adapter, all_weights
from auditor.unlearning.batches import shuffled_batches

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage
    from auditor.models.text_to_image.text import Text

ATTENTION = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
)
"""Projections of attention, which LoRA is put around: of self- and cross-attention in a UNet, of
pictures and of text in the joint attention of a transformer, as diffusers' examples have it."""


_DRAWS = 8
"""Timesteps, with noise, at which the loss of each picture is measured."""


class Noised(NamedTuple):
    """A picture of the training set as one step sees it."""

    picture: int
    """Index of the picture."""
    timestep: int
    noise: Tensor
    """Noise of the denoiser's input, [channels, height, width]."""


@contextmanager
def denoising_learner(
    model: "TextToImage",
    images: Tensor,
    prompts: Sequence[str],
    settings: FineTuning,
    seed: int,
) -> Iterator[Learner[Noised]]:
    """Train the denoiser of a model in place, and restore it.

    Afterwards it is restored bit for bit.

    The loss is the mean squared error of the predicted noise (arXiv 2006.11239, eq. 14), or of the
    velocity of a flow (arXiv 2210.02747, eq. 23). Text
    encoders and autoencoder stay as they are; each picture is encoded once.

    Args:
        model: model that is taught.
        images: what is taught, [n, 3, height, width] in [0, 1].
        prompts: one an image.
        settings: how.
        seed: seed of the order of pictures, timesteps, noise and LoRA's first matrices.

    Raises:
        UnavailableError: the denoiser has no layers that PEFT can put LoRA around.
    """
    clean = clean_inputs(model, images, at_once=1)
    text = model.text(prompts)

    def loss(part: Sequence[Noised]) -> Tensor:
        return _loss(model, clean, text, part)

    with model.unchanged_weights():
        trained = (
            adapter(model.denoiser, settings.rank, seed, _attention(model.denoiser))
            if settings.method == "lora"
            else all_weights(model.denoiser)
        )
        drawn = noised_batches(
            len(prompts), model.input_shape, model.process.timesteps, settings, seed
        )
        with trained as weights:
            yield Learner(weights, drawn, loss, settings)


def denoising_error(
    model: "TextToImage", images: Tensor, prompts: Sequence[str], seed: int
) -> Callable[[], float]:
    """Return a function that gives the mean denoising loss.

    It is the loss of pictures with their prompts.

    Timesteps and noise are the same at every call and on every arm.

    Args:
        model: model whose loss it is.
        images: what is taught, [n, 3, height, width] in [0, 1].
        prompts: one an image.
        seed: seed of timesteps and noise.
    """
    draws = torch.Generator().manual_seed(seed)
    count = len(prompts)
    drawn = [
        Noised(
            picture,
            int(torch.randint(model.process.timesteps, (), generator=draws)),
            torch.randn(model.input_shape, generator=draws),
        )
        for picture in range(count)
        for _ in range(_DRAWS)
    ]

    @torch.no_grad()
    def error() -> float:
        clean, text = clean_inputs(model, images, at_once=1), model.text(prompts)
        losses = [_loss(model, clean, text, [one]) for one in drawn]
        return float(torch.stack(losses).mean()) / half_scale(model.denoiser.dtype)

    return error


def _attention(denoiser: nn.Module) -> dict[str, nn.Module]:
    """The projections of a denoiser's attention, by name."""
    return {name: part for name, part in denoiser.named_modules() if name.endswith(ATTENTION)}


def noised_batches(
    count: int, shape: Sequence[int], timesteps: int, settings: FineTuning, seed: int
) -> Iterator[list[Noised]]:
    """Endless batches: shuffled passes over the pictures, uniform timesteps, normal noise.

    Args:
        count: pictures.
        shape: shape of a picture's noise.
        timesteps: that the model was trained with.
        settings: batch size.
        seed: seed of everything that is drawn, on the CPU so that all machines agree.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    for rows in shuffled_batches(count, settings.batch_size, order):
        times = torch.randint(timesteps, (len(rows),), generator=generator).tolist()
        noise = torch.randn((len(rows), *shape), generator=generator)
        yield [Noised(*drawn) for drawn in zip(rows, times, noise, strict=True)]


def _loss(model: "TextToImage", clean: Tensor, text: "Text", part: Sequence[Noised]) -> Tensor:
    rows = [item.picture for item in part]
    timesteps = torch.tensor([item.timestep for item in part])
    noise = torch.stack([item.noise for item in part])
    error = denoising_loss(model, clean[rows], timesteps, noise, text.rows(rows)).mean()
    # AdamW divides a factor of the gradient out again
    return error * half_scale(model.denoiser.dtype)
