"""Deterministic diffusion and flow from images to noise and back."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

from auditor.models.batching import run_batched
from auditor.models.text_to_image.forward_process import (
    DiffusionProcess,
    FlowProcess,
    ForwardProcess,
)
from auditor.models.text_to_image.latent_space import LatentSpace
from auditor.models.text_to_image.model import TextToImage

Noise = Callable[[Tensor, int], Tensor]
"""Function from a noisy input [n, c, h, w] and its timestep to the noise in it, or the velocity."""


class Stepped(NamedTuple):
    """Where a step leads, as schedulers of diffusers say it."""

    prev_sample: Tensor


class Schedule(Protocol):
    """Timesteps, and the deterministic step that belongs to each."""

    @property
    def timesteps(self) -> Tensor:
        """Timesteps in the order of the steps."""

    def step(self, output: Tensor, timestep: int, sample: Tensor, /) -> Any:
        """Return where what was predicted leads, as ``prev_sample``."""


class FlowSchedule:
    """Euler's method along a flow (arXiv 2210.02747), between images and noise.

    Args:
        levels: noise levels by timestep, the first step's first.
        up: whether from images to noise.
    """

    def __init__(self, levels: Mapping[int, float], up: bool) -> None:
        times = list(levels)
        self.timesteps = torch.tensor(times if up else times[::-1])
        before = dict(zip(times, [0.0, *levels.values()], strict=False))
        sign = 1 if up else -1
        self._lengths = {time: sign * (levels[time] - before[time]) for time in times}

    def step(self, output: Tensor, timestep: int, sample: Tensor, /) -> Stepped:
        """Go along the velocity, to the timestep's level or from it."""
        return Stepped(sample + self._lengths[timestep] * output)


def schedules(process: ForwardProcess, steps: int) -> tuple[Schedule, Schedule]:
    """Schedules of deterministic sampling, and of its inversion.

    That of diffusion is DDIM's (arXiv 2010.02502, eq. 12 without its fresh noise), that of flows
    Euler's.

    The timesteps are evenly spaced, the first being 1 as Stable Diffusion has it. The last of
    training, where some schedules have no signal left, is not among them.

    Args:
        process: Noise of each timestep of training.
        steps: Timesteps of either schedule.

    Returns:
        From images to noise, and from noise to images.

    Raises:
        ValueError: There are fewer than two timesteps of training a step.
    """
    trained = process.timesteps
    if 2 * steps > trained:
        raise ValueError(f"{steps} steps do not fit twice into {trained} timesteps")
    settings = {"num_train_timesteps": trained, "steps_offset": 1, "clip_sample": False}
    both = DDIMInverseScheduler(**settings), DDIMScheduler(**settings)
    for schedule in both:
        if isinstance(process, DiffusionProcess):
            # the model's own: which names and numbers they come from differs between schedulers
            schedule.alphas_cumprod = process.signal.double()
        schedule.set_timesteps(steps)
    if isinstance(process, FlowProcess):
        levels = {time: float(process.sigmas[time]) for time in both[0].timesteps.tolist()}
        return FlowSchedule(levels, up=True), FlowSchedule(levels, up=False)
    return both


def inverted(
    clean: Tensor, predict: Noise, schedule: Schedule, refinements: int
) -> tuple[Tensor, Tensor]:
    """The noise from which :func:`regenerated` leads to an image.

    A step up is exact where x' = f(x') holds, f moving x by the noise predicted in x' itself;
    plain DDIM inversion (arXiv 2010.02502, 2105.05233) takes that of x. From there f is applied
    again and again, which comes to the fixed point wherever f contracts (arXiv 2309.04907).

    Args:
        clean: What is inverted, [n, c, h, w].
        predict: What the denoiser sees.
        schedule: From images to noise.
        refinements: Times that f is applied again in each step.

    Returns:
        The noise, and how far the last applications of f still moved it: root mean square over
        the image and the steps, [n].
    """
    sample = clean
    gaps = []
    for timestep in schedule.timesteps.tolist():
        guess = schedule.step(predict(sample, timestep), timestep, sample).prev_sample
        gap = torch.zeros(len(clean), device=clean.device)
        for _ in range(refinements):
            again = schedule.step(predict(guess, timestep), timestep, sample).prev_sample
            gap = (again - guess).square().mean(dim=(1, 2, 3))
            guess = again
        gaps.append(gap)
        sample = guess
    return sample, torch.stack(gaps).mean(dim=0).sqrt()


def regenerated(noise: Tensor, predict: Noise, schedule: Schedule) -> Tensor:
    """Deterministic sampling (arXiv 2010.02502, 2210.02747) down the schedule."""
    sample = noise
    for timestep in schedule.timesteps.tolist():
        sample = schedule.step(predict(sample, timestep), timestep, sample).prev_sample
    return sample


def without_text(model: TextToImage, count: int) -> Noise:
    """What the denoiser predicts without text, in float32.

    It is for ``count`` inputs at once.
    """
    empty = model.empty_text().repeated(count)

    def predict(sample: Tensor, timestep: int) -> Tensor:
        at = torch.full((count,), timestep, dtype=torch.long)
        return model.predict(sample, at, empty).float()

    return predict


def through_noise(
    model: TextToImage, images: Tensor, steps: int, refinements: int
) -> tuple[Tensor, Tensor]:
    """Images taken to noise and back, without text.

    Args:
        model: The model whose denoiser is used.
        images: [n, 3, height, width] in [0, 1].
        steps: Steps either way.
        refinements: Of each step up.

    Returns:
        Images [n, 3, height, width] in [0, 1] on the CPU, and how far the inversion was from
        its fixed points [n].
    """
    space = LatentSpace(model.parts.vae)
    up, down = schedules(model.process, steps)
    _, height, width = model.input_shape

    def run(batch: list[int]) -> list[tuple[Tensor, Tensor]]:
        with torch.inference_mode():
            clean = model.latents(images[batch]).float()
            predict = without_text(model, len(batch))
            noise, gaps = inverted(clean, predict, up, refinements)
            back = regenerated(noise, predict, down).to(model.denoiser.dtype)
            return list(zip(space.decode(back).cpu(), gaps.cpu(), strict=True))

    found = run_batched([height * width] * len(images), model.token_budget, run)
    return torch.stack([image for image, _ in found]), torch.stack([gap for _, gap in found])
