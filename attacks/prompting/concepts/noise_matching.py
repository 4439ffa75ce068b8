"""Error of the noise that a UNet predicts under a prompt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from auditor.core.errors import MeasurementError

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage
    from auditor.models.text_to_image.text_encoding import Text

_HALF_SCALE = 1024.0


def half_scale(dtype: torch.dtype) -> float:
    """Scale of a loss against vanishing gradients in float16."""
    return _HALF_SCALE if dtype == torch.float16 else 1.0


def image_shape(model: "TextToImage") -> tuple[int, int]:
    """Height and width of the images that a model draws, in pixels."""
    from auditor.models.text_to_image.latent_space import LatentSpace  # costs seconds

    factor = LatentSpace(model.parts.vae).factor
    _, height, width = model.input_shape
    return height * factor, width * factor


def clean_inputs(model: "TextToImage", images: Tensor, at_once: int) -> Tensor:
    """Clean inputs [n, *input_shape] of images [n, 3, height, width]."""
    return torch.cat([model.latents(part) for part in torch.split(images, at_once)])


def noised(model: "TextToImage", clean: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
    """Clean inputs with the noise of their timesteps (arXiv 2006.11239, eq. 4)."""
    from auditor.models.text_to_image.denoising import add_noise  # costs seconds

    return add_noise(clean, noise.to(clean), model.signal[timesteps.cpu()])


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of each row, [n] float32.

    Raises:
        MeasurementError: one is not finite.
    """
    error = (predicted.float() - wanted.to(predicted.device).float()).square().mean((1, 2, 3))
    if not torch.isfinite(error).all():
        raise MeasurementError("the denoising loss is not finite")
    return error


def denoising_loss(
    model: "TextToImage",
    clean: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    text: "Tensor | Text",
    prompts: Sequence[str] | None = None,
) -> Tensor:
    """Mean squared error of predicted noise (arXiv 2006.11239, eq. 14).

    Gradients flow through it.

    Args:
        model: model that predicts.
        clean: what the UNet should denoise to, [n, *input_shape].
        timesteps: timesteps of training, [n] integers.
        noise: noise of the shape of ``clean``.
        text: n encoded prompts, or embeddings for cross-attention alone.
        prompts: prompts whose pooled text SDXL gets with embeddings.

    Returns:
        [n] float32.

    Raises:
        MeasurementError: a loss is not finite.
    """
    noisy = noised(model, clean, timesteps, noise)
    return squared_error(model.predict_noise(noisy, timesteps, text, prompts), noise)


def gradient(loss: Tensor, variable: Tensor, dtype: torch.dtype) -> Tensor:
    """Gradient of a loss with respect to one tensor and nothing else.

    Args:
        loss: float32.
        variable: float32.
        dtype: dtype of the network between them.
    """
    scale = half_scale(dtype)
    (found,) = torch.autograd.grad(loss * scale, variable)
    return found / scale
