"""Pictures that a model is given to draw again."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from auditor.models.text_to_image.denoising import Start


@dataclass(frozen=True)
class Redrawing:
    """Pictures that are noised and drawn again (SDEdit, arXiv 2108.01073)."""

    images: Tensor
    """[n, 3, height, width] in [0, 1], of the size of drawings."""
    strength: float
    """Share of the steps that are taken, in (0, 1]; all of them begin with plain noise."""
    masked: Tensor | None = None
    """True at pixels that are drawn, False where the picture stays, [height, width]; None draws
    all."""

    def start(self, clean: Tensor) -> Start:
        """Return where denoising begins.

        Args:
            clean: the denoiser's input for some of the images, [n, c, h, w].
        """
        if self.masked is None:
            return Start(clean, self.strength)
        pixels = self.masked.to(clean)[None, None]
        masked = functional.interpolate(pixels, size=clean.shape[-2:])[0, 0]
        return Start(clean, self.strength, masked)
