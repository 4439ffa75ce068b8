"""Noise predictions under encoded prompts, and images drawn half way."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor

from auditor.unlearning.erasure.encoded_prompts import EncodedPrompt


def predicted_noise(
    unet: UNet2DConditionModel,
    images: Tensor,
    timesteps: Tensor,
    prompts: Sequence[EncodedPrompt],
) -> Tensor:
    """Return the UNet's prediction for images under one prompt each.

    Args:
        unet: UNet of a latent or a pixel-space pipeline.
        images: Images in the UNet's space and as it takes them, [batch, channels, height, width].
        timesteps: One, or one for each image.
        prompts: One for each image.

    Returns:
        The prediction (noise or velocity, whichever the model was trained for), like ``images``.
    """
    states = torch.stack([prompt.states for prompt in prompts]).to(unet.device, unet.dtype)
    added = {
        name: torch.cat([prompt.added[name] for prompt in prompts]).to(unet.device, unet.dtype)
        for name in prompts[0].added
    }
    prediction: Tensor = unet(
        images.to(unet.device, unet.dtype),
        timesteps.to(unet.device),
        encoder_hidden_states=states,
        added_cond_kwargs=added or None,
    ).sample
    return prediction


def gaussian_noise(unet: UNet2DConditionModel, batch: int, generator: torch.Generator) -> Tensor:
    """Draw noise of the size of the UNet's images.

    It is drawn on the CPU so that all machines agree.
    """
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    noise = torch.randn(batch, unet.config.in_channels, height, width, generator=generator)
    return noise.to(unet.device, unet.dtype)


@torch.no_grad()
def half_drawn(
    unet: UNet2DConditionModel,
    scheduler: SchedulerMixin,
    prompts: Sequence[EncodedPrompt],
    empty: EncodedPrompt,
    steps: int,
    guidance: float,
    generator: torch.Generator,
) -> Tensor:
    """Draw images from noise by a scheduler's first steps.

    Each is drawn under its prompt.

    Args:
        unet: That draws.
        scheduler: Its timesteps are set; not changed otherwise.
        prompts: One for each image.
        empty: The empty prompt, for classifier-free guidance (arXiv 2207.12598).
        steps: How many of the scheduler's steps are taken, possibly none.
        guidance: 1 is no guidance.
        generator: Generator on the CPU, for the first noise and for any that the scheduler draws.

    Returns:
        x_t before step ``steps``, [batch, channels, height, width].
    """
    images: Tensor = gaussian_noise(unet, len(prompts), generator) * scheduler.init_noise_sigma
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {"generator": generator} if takes_generator else {}
    for timestep in scheduler.timesteps[:steps]:
        scaled = scheduler.scale_model_input(images, timestep)
        noise = predicted_noise(unet, scaled, timestep, prompts)
        if guidance != 1:
            unasked = predicted_noise(unet, scaled, timestep, [empty] * len(prompts))
            noise = unasked + guidance * (noise - unasked)
        images = scheduler.step(noise, timestep, images, **extra).prev_sample
    return images
