"""Safe latent diffusion: guidance away from a concept in drawing."""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from auditor.models.text_to_image.erasers import Eraser, EraserSettings, Guide, eraser


class SafeLatentDiffusionSettings(EraserSettings):
    """Settings of safe latent diffusion.

    The defaults are those that its authors call medium.
    """

    concept: str = Field(min_length=1)
    """Text that is guided away from."""
    guidance_scale: float = Field(default=1000.0, gt=0)
    """Weight of the guidance away from the concept, s_S."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps at the beginning without that guidance, δ."""
    threshold: float = 0.01
    """Difference between what is predicted under prompt and concept from which an element is left
    alone, λ."""
    momentum_scale: float = Field(default=0.3, ge=0)
    """Weight of the momentum, s_m."""
    momentum_beta: float = Field(default=0.4, ge=0, lt=1)
    """Share of the momentum that is kept from step to step, β_m."""


@eraser("sld")
class SafeLatentDiffusion(Eraser[SafeLatentDiffusionSettings]):
    """Safe latent diffusion (SLD, arXiv 2211.05105)."""

    settings_type = SafeLatentDiffusionSettings

    @property
    def texts(self) -> tuple[str, ...]:
        """The concept."""
        return (self.settings.concept,)

    def guide(self) -> "SafetyGuide":
        """Guide away from the concept, without momentum at first."""
        return SafetyGuide(self.settings)


class SafetyGuide(Guide):
    """Guidance away from the concept (arXiv 2211.05105, eq. 3 to 8)."""

    def __init__(self, settings: SafeLatentDiffusionSettings) -> None:
        self._settings = settings
        self._step = 0
        self._momentum: Tensor | float = 0.0

    def guided(
        self, without: Tensor, with_text: Tensor, others: Sequence[Tensor], guidance: float
    ) -> Tensor:
        """Guide towards the prompt and away from the concept.

        The output is ε_∅ + s (ε_p - ε_∅ - g), without g in the first δ steps.

        g = μ (ε_S - ε_∅) + s_m m, with μ = min(1, s_S |ε_p - ε_S|) where ε_p - ε_S < λ and 0
        elsewhere; the momentum m begins with 0 and becomes β_m m + (1 - β_m) g.
        """
        s, (concept,) = self._settings, others
        apart = with_text - concept
        weight = (apart.abs() * s.guidance_scale).clamp(max=1)
        weight = torch.where(apart >= s.threshold, torch.zeros_like(weight), weight)
        away = weight * (concept - without) + s.momentum_scale * self._momentum
        self._momentum = s.momentum_beta * self._momentum + (1 - s.momentum_beta) * away
        towards = with_text - without
        if self._step >= s.warmup_steps:
            towards = towards - away
        self._step += 1
        return without + guidance * towards
