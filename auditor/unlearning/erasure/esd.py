"""Erased stable diffusion (ESD), Gandikota et al., arXiv 2303.07345.

The model is trained to predict, under the concept's prompt, what the original would predict if
it were guided away from the concept. No image is needed: the model's own half-drawn ones do.
"""

import copy
from collections.abc import Sequence

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from auditor.core.progress import Progress, SilentProgress
from auditor.unlearning.erasure.cross_attention import parameter_names
from auditor.unlearning.erasure.denoising import half_drawn, predicted_noise
from auditor.unlearning.erasure.encoded_prompts import EncodedPrompt
from auditor.unlearning.erasure.settings import EsdSettings


def erased_target(unconditional: Tensor, conditional: Tensor, negative_guidance: float) -> Tensor:
    """``e_0(x_t) - eta (e_0(x_t, c) - e_0(x_t))``, arXiv 2303.07345.

    The authors' later program writes the target ``e_0(x_t, c) - eta' (e_0(x_t, c) - e_0(x_t))``.
    The two agree for ``eta' = eta + 1``: its default of 2 is the paper's 1, and its 1 (used for
    Stable Diffusion XL) is the paper's 0, the unconditional prediction itself.

    Args:
        unconditional: The frozen model's prediction under the empty prompt.
        conditional: Its prediction under the concept's prompt, same shape.
        negative_guidance: The paper's eta.

    Returns:
        The target, same shape.
    """
    return unconditional - negative_guidance * (conditional - unconditional)


def esd(
    unet: UNet2DConditionModel,
    scheduler: SchedulerMixin,
    concepts: Sequence[EncodedPrompt],
    empty: EncodedPrompt,
    settings: EsdSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Train a UNet away from concepts.

    Args:
        unet: The original, left as it was; latent or pixel-space.
        scheduler: That draws the images, a deterministic one such as DDIM as a rule; left as
            it was.
        concepts: Prompts that name what is to be erased; each image is drawn under one of them.
        empty: The empty prompt.
        settings: The paper's if ``None``.
        seed: Seed of prompts, timesteps and noise.
        progress: Told about every step, with the loss.

    Returns:
        The trained tensors alone, by name in the state dict, in the UNet's type, on the CPU.

    Raises:
        AuditorError: The UNet has no cross-attention.
        ValueError: No concept.
    """
    if not concepts:
        raise ValueError("nothing to erase: no concept was given")
    settings = settings or EsdSettings()
    names = set(parameter_names(unet, settings.group))
    frozen = copy.deepcopy(unet).requires_grad_(False).eval()
    student = copy.deepcopy(unet).requires_grad_(False).eval()
    trained = {name: weight for name, weight in student.named_parameters() if name in names}
    for weight in trained.values():
        weight.requires_grad_(True)
    optimizer = _optimizer(list(trained.values()), settings)
    draws = torch.Generator().manual_seed(seed)
    with (progress or SilentProgress()).task(f"ESD-{settings.group}", settings.iterations) as done:
        for _ in range(settings.iterations):
            chosen = torch.randint(len(concepts), (settings.batch_size,), generator=draws)
            prompts = [concepts[int(index)] for index in chosen]
            loss = _loss(student, frozen, scheduler, prompts, empty, settings, draws)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            done(1, note=f"loss {loss.item():.3g}")
    return {name: weight.detach().to("cpu", copy=True) for name, weight in trained.items()}


def _optimizer(weights: list[Tensor], settings: EsdSettings) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _loss(
    student: UNet2DConditionModel,
    frozen: UNet2DConditionModel,
    scheduler: SchedulerMixin,
    prompts: Sequence[EncodedPrompt],
    empty: EncodedPrompt,
    settings: EsdSettings,
    draws: torch.Generator,
) -> Tensor:
    """Return the mean squared error to the target.

    It is taken at one random timestep of the grid.
    """
    walk = copy.deepcopy(scheduler)  # some schedulers remember the steps they took
    walk.set_timesteps(settings.denoising_steps)
    steps = int(torch.randint(len(walk.timesteps), (), generator=draws))
    artist = student if settings.drawn_by == "student" else frozen
    images = half_drawn(artist, walk, prompts, empty, steps, settings.guidance, draws)
    timestep = walk.timesteps[steps]
    images = walk.scale_model_input(images, timestep)
    with torch.no_grad():
        target = erased_target(
            predicted_noise(frozen, images, timestep, [empty] * len(prompts)),
            predicted_noise(frozen, images, timestep, prompts),
            settings.negative_guidance,
        )
    return functional.mse_loss(predicted_noise(student, images, timestep, prompts), target)
