"""Error of what a denoiser predicts under a prompt."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from auditor.core.errors import MeasurementError

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage
    from auditor.models.text_to_image.text import Text

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
    """Clean inputs with the noise of their timesteps."""
    return model.process.noised(clean, noise.to(clean), timesteps)


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
) -> Tensor:
    """Mean squared error of what is predicted, as in training.

    It is that of the noise (arXiv 2006.11239, eq. 14), or of the velocity of a flow (arXiv
    2210.02747, eq. 23; each timestep counts the same).

    Gradients flow through it.

    Args:
        model: model that predicts.
        clean: what the denoiser should lead to, [n, *input_shape].
        timesteps: timesteps of training, [n] integers.
        noise: noise of the shape of ``clean``.
        text: n encoded prompts, or states for attention alone.

    Returns:
        [n] float32.

    Raises:
        MeasurementError: a loss is not finite.
    """
    noisy = noised(model, clean, timesteps, noise)
    wanted = model.process.target(clean, noise.to(clean.device))
    return squared_error(model.predict(noisy, timesteps, text), wanted)


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
