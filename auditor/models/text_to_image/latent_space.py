"""Conversion between images in [0, 1] and a denoiser's input.

The input is latents of an autoencoder, or pixels.
"""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from auditor.core.errors import AuditorError
from auditor.models.text_to_image.spec import ImageSampling


@dataclass(frozen=True)
class LatentSpace:
    """The autoencoder's latents (arXiv 2112.10752), or pixels in [-1, 1] without one."""

    vae: AutoencoderKL | None

    @property
    def factor(self) -> int:
        """Pixels an input's position stands for, along each side."""
        return 1 if self.vae is None else vae_factor(len(self.vae.config.block_out_channels))

    @property
    def channels(self) -> int:
        """Channels of the denoiser's input."""
        return 3 if self.vae is None else int(self.vae.config.latent_channels)

    def input_shape(
        self, sample_size: int | tuple[int, int] | None, patch: int, sampling: ImageSampling
    ) -> tuple[int, int, int]:
        """Return channels, height and width of the denoiser's input.

        They are for images of the wanted size.

        Args:
            sample_size: side or sides of the input that the denoiser was made for.
            patch: positions along each side that it takes as one.
            sampling: may name another size.

        Raises:
            AuditorError: the size is no multiple of :attr:`factor` times ``patch``.
        """
        height, width = input_size(self.factor, patch, sample_size, sampling)
        return self.channels, height, width

    def encode(self, images: Tensor) -> Tensor:
        """Convert images to the denoiser's input, without noise.

        The images are [n, 3, height, width] in [0, 1].
        """
        centred: Tensor = images * 2 - 1
        if self.vae is None:
            return centred
        latents: Tensor = self.vae.encode(centred.to(self.vae.dtype)).latent_dist.mode()
        mean, deviation = self._moments(latents)
        return (latents - mean) / deviation * float(self.vae.config.scaling_factor)

    def decode(self, drawn: Tensor) -> Tensor:
        """Convert the denoiser's output to images in [0, 1], float32."""
        if self.vae is not None:
            mean, deviation = self._moments(drawn)
            latents = drawn * deviation / self.vae.config.scaling_factor + mean
            drawn = self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0]
        return (drawn.float() / 2 + 0.5).clamp(0, 1)

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, where the autoencoder knows them.

        Those of Stable Diffusion 3 and Flux know one mean of all channels (``shift_factor``).
        """
        config = None if self.vae is None else self.vae.config
        if config is None or config.latents_mean is None or config.latents_std is None:
            shift = None if config is None else config.shift_factor
            return like.new_full((1,), shift or 0.0), like.new_ones(1)
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1).to(like)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, deviation


def vae_factor(blocks: int) -> int:
    """Return the pixels of a latent along each side.

    Every block but the last halves the resolution.
    """
    return int(2 ** (blocks - 1))


def input_size(
    factor: int, patch: int, sample_size: int | tuple[int, int] | None, sampling: ImageSampling
) -> tuple[int, int]:
    """Height and width of the denoiser's input.

    Args:
        factor: pixels of a position of the input, along each side.
        patch: positions along each side that the denoiser takes as one.
        sample_size: what the denoiser was made for.
        sampling: may name another size of images.

    Raises:
        AuditorError: the wanted size is no multiple of ``factor`` times ``patch``, or there is
            none.
    """
    if sample_size is None and None in (sampling.height, sampling.width):
        raise AuditorError(
            "the denoiser's configuration names no sample_size; give `height` and `width` of an "
            "image."
        )
    usual = sample_size if isinstance(sample_size, tuple | list) else (sample_size,) * 2
    found = []
    for name, side, wanted in zip(
        ("height", "width"), usual, (sampling.height, sampling.width), strict=True
    ):
        if wanted is not None and wanted % (factor * patch):
            raise AuditorError(
                f"the {name} of an image must be a multiple of {factor * patch} for this "
                "pipeline, not "
                f"{wanted}."
            )
        found.append(int(side or 0) if wanted is None else wanted // factor)
    return found[0], found[1]
