"""How pictures are noised in training, and what a denoiser then predicts."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from auditor.models.text_to_image.denoising import (
    add_noise,
    as_noise,
    deterministic_step,
)


class ForwardProcess(ABC):
    """Noise added in training, timestep by timestep, from little to much."""

    @property
    @abstractmethod
    def timesteps(self) -> int:
        """Number of training's timesteps."""

    @abstractmethod
    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return clean inputs with noise at their timesteps.

        Args:
            clean: [n, c, h, w].
            noise: standard normal, of the same shape.
            timesteps: [n] integers.
        """

    @abstractmethod
    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return what a perfect prediction would be."""

    @abstractmethod
    def prediction(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return the prediction that a denoiser's output stands for.

        It compares with :meth:`target`.

        Args:
            output: what the denoiser gave, [n, c, h, w].
            noisy: what it was given.
            timesteps: [n] integers.
        """

    @abstractmethod
    def told(self, timesteps: Tensor) -> Tensor:
        """Return what a denoiser is told of the noise at timesteps, [n]."""

    @abstractmethod
    def moved(self, sample: Tensor, prediction: Tensor, now: int, then: int) -> Tensor:
        """Return a sample at another timestep, by a deterministic step.

        Args:
            sample: at the timestep ``now``.
            prediction: what is predicted of it.
            now: timestep of the sample.
            then: timestep that is wanted.
        """


class DiffusionProcess(ForwardProcess):
    """Diffusion (arXiv 2006.11239): what is predicted is the noise.

    Args:
        signal: ᾱ of each training timestep, [timesteps].
        kind: what the denoiser's output is: ``epsilon``, ``v_prediction`` or ``sample``.
    """

    def __init__(self, signal: Tensor, kind: str) -> None:
        self.signal = signal.detach().to("cpu", torch.float32)
        self.kind = kind

    @property
    def timesteps(self) -> int:
        """Number of training's timesteps."""
        return len(self.signal)

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Add noise by the shares of ᾱ (arXiv 2006.11239, eq. 4)."""
        return add_noise(clean, noise, self.signal[timesteps.cpu()])

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The noise."""
        return noise

    def prediction(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Convert v or the image to noise, where a UNet predicts those."""
        return as_noise(output, noisy, self.signal[timesteps.cpu()], self.kind)

    def told(self, timesteps: Tensor) -> Tensor:
        """The timesteps themselves."""
        return timesteps

    def moved(self, sample: Tensor, prediction: Tensor, now: int, then: int) -> Tensor:
        """Make a step of DDIM (arXiv 2010.02502)."""
        levels = float(self.signal[now]), float(self.signal[then])
        return deterministic_step(sample, prediction, *levels)


class FlowProcess(ForwardProcess):
    """Rectified flow (arXiv 2210.02747, 2403.03206): what is predicted is the velocity.

    A noisy input is (1 - s) x_0 + s ε at the noise level s, and the velocity ε - x_0 leads from the
    image to the noise.

    Args:
        sigmas: noise level of each training timestep, [timesteps], from little noise to much.
        units: what a level is multiplied by for the denoiser.
    """

    def __init__(self, sigmas: Tensor, units: int) -> None:
        self.sigmas = sigmas.detach().to("cpu", torch.float32)
        self._units = units

    @property
    def timesteps(self) -> int:
        """Number of training's timesteps."""
        return len(self.sigmas)

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Go from the image towards the noise, on the straight line."""
        levels = self.sigmas[timesteps.cpu()].to(clean.device).view(-1, 1, 1, 1)
        return (1 - levels).to(clean.dtype) * clean + levels.to(clean.dtype) * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The velocity, ε - x_0."""
        return noise - clean

    def prediction(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The denoiser's output, which is the velocity."""
        return output

    def told(self, timesteps: Tensor) -> Tensor:
        """Noise levels of the timesteps, in the scheduler's units."""
        return self.sigmas[timesteps.cpu()].to(timesteps.device) * self._units

    def moved(self, sample: Tensor, prediction: Tensor, now: int, then: int) -> Tensor:
        """Make an Euler step along the velocity."""
        return sample + float(self.sigmas[then] - self.sigmas[now]) * prediction


def process_of(scheduler: Any) -> ForwardProcess:
    """Return the process in which a scheduler's model was trained."""
    config = scheduler.config
    if hasattr(scheduler, "alphas_cumprod"):
        return DiffusionProcess(scheduler.alphas_cumprod, config.prediction_type)
    return FlowProcess(scheduler.sigmas.flip(0), config.num_train_timesteps)
