"""Mathematics of diffusion: noise added, predicted and removed."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from auditor.core.errors import MeasurementError

Predict = Callable[[Tensor, Tensor], Tensor]
"""Function from noisy input [n, c, h, w] and time to the denoiser's output, with guidance."""


def add_noise(clean: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """Add noise to a clean input (arXiv 2006.11239, eq. 4).

    x_t = √ᾱ x_0 + √(1 - ᾱ) ε.

    ᾱ of each row is in ``signal`` [n].

    ``signal`` is best given in float32, whatever type the images have.
    """
    of_image, of_noise = _shares(signal, clean)
    return of_image * clean + of_noise * noise


def as_noise(output: Tensor, noisy: Tensor, signal: Tensor, kind: str) -> Tensor:
    """Return the noise that a UNet's output stands for.

    Args:
        output: what the UNet gave, [n, c, h, w].
        noisy: what it was given.
        signal: ᾱ of each row, [n], best in float32.
        kind: ``epsilon``, ``v_prediction`` (v = √ᾱ ε - √(1 - ᾱ) x_0, arXiv 2202.00512,
            appendix D) or ``sample`` (x_0).
    """
    if kind == "epsilon":
        return output
    of_image, of_noise = _shares(signal, output)
    if kind == "v_prediction":
        return of_image * output + of_noise * noisy
    return (noisy - of_image * output) / of_noise


def _shares(signal: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 - ᾱ) of each row, [n, 1, 1, 1].

    They are rounded to the images' type only at the end: in bfloat16 the ᾱ of the first timesteps
    is 1, and no noise would be left.
    """
    kept = signal.to(like.device).view(-1, 1, 1, 1)
    return kept.sqrt().to(like.dtype), (1 - kept).sqrt().to(like.dtype)


def deterministic_step(sample: Tensor, noise: Tensor, now: float, then: float) -> Tensor:
    """Return the sample at another noise level.

    It is right if ``noise`` is all the noise in the sample.

    x' = √ᾱ' (x - √(1 - ᾱ) ε) / √ᾱ + √(1 - ᾱ') ε (arXiv 2010.02502, eq. 12 without its fresh noise).
    Diffusers' schedulers do the same between the timesteps of their own grid.

    Args:
        sample: x.
        noise: ε.
        now: ᾱ of the sample.
        then: ᾱ' that is wanted.
    """
    clean = (sample - math.sqrt(1 - now) * noise) / math.sqrt(now)
    return math.sqrt(then) * clean + math.sqrt(1 - then) * noise


def guided(output: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598) of rows without, then rows with text."""
    without, with_text = output.chunk(2)
    return without + guidance * (with_text - without)


def first_noise(shape: Sequence[int], seeds: Sequence[int]) -> tuple[Tensor, list[torch.Generator]]:
    """Draw standard normal noise [n, *shape].

    Each row comes from a generator of its own.

    The generators live on the CPU, so that a device or a batch changes no image's noise.
    """
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    rows = [torch.randn(tuple(shape), generator=generator) for generator in generators]
    return torch.stack(rows), generators


@dataclass(frozen=True)
class Start:
    """Clean inputs that denoising begins with instead of noise alone (arXiv 2108.01073)."""

    clean: Tensor
    """[n, c, h, w]."""
    strength: float
    """Share of the steps that are taken, in (0, 1], at least one; all begin with plain noise."""
    masked: Tensor | None = None
    """1 at positions that are drawn, 0 where the clean input stays, [h, w]; None draws all."""


def denoise(
    scheduler: SchedulerMixin,
    set_timesteps: Callable[[Any], None],
    noise: Tensor,
    generators: Sequence[torch.Generator],
    predict: Predict,
    start: Start | None = None,
) -> Tensor:
    """Take the noise away step by step, as the scheduler's deployers do.

    Args:
        scheduler: scheduler whose configuration is used; itself it is left alone.
        set_timesteps: sets the timesteps of a copy of it.
        noise: standard normal, [n, c, h, w].
        generators: one a row, for schedulers that add noise on the way.
        predict: what the denoiser says.
        start: what is begun with; by default noise alone.

    Raises:
        MeasurementError: what comes out is not finite.
    """
    schedule = type(scheduler).from_config(scheduler.config)  # some carry state between steps
    set_timesteps(schedule)
    options = {}
    if "generator" in inspect.signature(schedule.step).parameters:
        options["generator"] = list(generators)
    # schedules of flows begin with plain noise and scale nothing
    scaled = getattr(schedule, "scale_model_input", lambda sample, timestep: sample)
    timesteps, sample = _begun(schedule, noise, start)
    for number, timestep in enumerate(timesteps):
        output = predict(scaled(sample, timestep), timestep)
        sample = schedule.step(output, timestep, sample, **options, return_dict=False)[0]
        if start is not None and start.masked is not None:
            rest = timesteps[number + 1 : number + 2]
            stays = _noised(schedule, start.clean, noise, rest) if len(rest) else start.clean
            masked = start.masked.to(sample)
            sample = masked * sample + (1 - masked) * stays
    if not torch.isfinite(sample).all():
        raise MeasurementError("the image is not finite")
    return sample


def _begun(schedule: Any, noise: Tensor, start: Start | None) -> tuple[Tensor, Tensor]:
    """Timesteps that are taken, and the sample before the first of them."""
    plain: Tensor = noise * getattr(schedule, "init_noise_sigma", 1)
    if start is None:
        return schedule.timesteps, plain
    steps = schedule.num_inference_steps
    taken = min(steps, max(1, round(steps * start.strength)))
    first = (steps - taken) * getattr(schedule, "order", 1)
    if hasattr(schedule, "set_begin_index"):
        schedule.set_begin_index(first)
    timesteps = schedule.timesteps[first:]
    if taken == steps:
        return timesteps, plain
    return timesteps, _noised(schedule, start.clean, noise, timesteps[:1])


def _noised(schedule: Any, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """Clean inputs with a timestep's noise, as the scheduler adds it."""
    times = timestep.expand(len(clean))
    if hasattr(schedule, "scale_noise"):  # schedules of flows
        found: Tensor = schedule.scale_noise(clean, times, noise)
    else:
        found = schedule.add_noise(clean, noise, times)
    return found
