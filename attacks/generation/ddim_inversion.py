"""Deterministic diffusion, both ways: from images to noise, and from noise to images."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from auditor.models.batching import run_batched

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage

Noise = Callable[[Tensor, int], Tensor]
"""From a noisy input [n, c, h, w] and its timestep to the noise in it."""


def timesteps(trained: int, steps: int) -> list[int]:
    """Evenly spaced timesteps of training, rising, the first being 1 as Stable Diffusion has it.

    The last, where some schedules have no signal left, is not among them.

    Raises:
        ValueError: there are fewer than two timesteps of training a step.
    """
    if 2 * steps > trained:
        raise ValueError(f"{steps} steps do not fit twice into {trained} timesteps")
    return [i * (trained // steps) + 1 for i in range(steps)]


def moved(sample: Tensor, noise: Tensor, now: float, then: float) -> Tensor:
    """The sample at another noise level, if ``noise`` is all the noise in it.

    x' = √ᾱ' (x - √(1 - ᾱ) ε) / √ᾱ + √(1 - ᾱ') ε (arXiv 2010.02502, eq. 12 without its fresh noise).

    Args:
        sample: x.
        noise: ε.
        now: ᾱ of the sample.
        then: ᾱ' that is wanted.
    """
    clean = (sample - math.sqrt(1 - now) * noise) / math.sqrt(now)
    return math.sqrt(then) * clean + math.sqrt(1 - then) * noise


def inverted(
    clean: Tensor, predict: Noise, path: Sequence[tuple[int, float]], refinements: int
) -> tuple[Tensor, Tensor]:
    """The noise from which :func:`regenerated` leads to an image.

    A step up is exact where x' = f(x') holds, f moving x by the noise predicted in x' itself;
    plain DDIM inversion (arXiv 2010.02502, 2105.05233) takes that of x. From there f is applied
    again and again, which comes to the fixed point wherever f contracts (arXiv 2309.04907).

    Args:
        clean: what is inverted.
        predict: what the UNet sees.
        path: timesteps and their ᾱ, rising in noise.
        refinements: times that f is applied again in each step.

    Returns:
        The noise, and how far the last applications of f still moved it: root mean square over
        the image and the steps, [n].
    """
    sample, level = clean, 1.0
    gaps = []
    for timestep, signal in path:
        guess = moved(sample, predict(sample, timestep), level, signal)
        gap = torch.zeros(len(clean), device=clean.device)
        for _ in range(refinements):
            again = moved(sample, predict(guess, timestep), level, signal)
            gap = (again - guess).square().mean(dim=(1, 2, 3))
            guess = again
        gaps.append(gap)
        sample, level = guess, signal
    return sample, torch.stack(gaps).mean(dim=0).sqrt()


def regenerated(noise: Tensor, predict: Noise, path: Sequence[tuple[int, float]]) -> Tensor:
    """Deterministic DDIM sampling (arXiv 2010.02502) down the path, to no noise at all."""
    below = [1.0, *(signal for _, signal in path)]
    sample = noise
    for (timestep, signal), then in reversed(list(zip(path, below, strict=False))):
        sample = moved(sample, predict(sample, timestep), signal, then)
    return sample


def path_of(model: "TextToImage", steps: int) -> list[tuple[int, float]]:
    """Timesteps of a model with their ᾱ."""
    signal = model.signal
    return [(t, float(signal[t])) for t in timesteps(len(signal), steps)]


def without_text(model: "TextToImage", count: int) -> Noise:
    """What the UNet predicts without text, for ``count`` inputs, in float32."""
    empty = model.empty_text().repeated(count)

    def predict(sample: Tensor, timestep: int) -> Tensor:
        at = torch.full((count,), timestep, dtype=torch.long)
        return model.predict_noise(sample, at, empty).float()

    return predict


def through_noise(
    model: "TextToImage", images: Tensor, steps: int, refinements: int
) -> tuple[Tensor, Tensor]:
    """Images taken to noise and back, without text.

    Args:
        model: The model whose UNet is used.
        images: [n, 3, height, width] in [0, 1].
        steps: of the path, either way.
        refinements: of each step up.

    Returns:
        Images [n, 3, height, width] in [0, 1] on the CPU, and how far the inversion was from
        its fixed points [n].
    """
    from auditor.models.text_to_image.latent_space import LatentSpace  # imports diffusers

    path, space = path_of(model, steps), LatentSpace(model.parts.vae)
    _, height, width = model.input_shape

    def run(batch: list[int]) -> list[tuple[Tensor, Tensor]]:
        with torch.inference_mode():
            clean = model.latents(images[batch]).float()
            predict = without_text(model, len(batch))
            noise, gaps = inverted(clean, predict, path, refinements)
            back = regenerated(noise, predict, path).to(model.unet.dtype)
            return list(zip(space.decode(back).cpu(), gaps.cpu(), strict=True))

    found = run_batched([height * width] * len(images), model.token_budget, run)
    return torch.stack([image for image, _ in found]), torch.stack([gap for _, gap in found])
