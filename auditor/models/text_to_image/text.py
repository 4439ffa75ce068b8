"""Encoded prompts, as a denoiser is given them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """Encoded prompts."""

    hidden: Tensor
    """Hidden states that attention reads, [n, length, width]."""
    pooled: Tensor | None = None
    """Pooled text of SDXL, Stable Diffusion 3 and Flux, [n, width]."""

    def rows(self, indices: list[int]) -> "Text":
        """Some of the prompts."""
        pooled = None if self.pooled is None else self.pooled[indices]
        return Text(self.hidden[indices], pooled)

    def repeated(self, count: int) -> "Text":
        """A single prompt, ``count`` times."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return Text(self.hidden.expand(count, -1, -1), pooled)

    def each_repeated(self, times: int) -> "Text":
        """Every prompt ``times`` times, its copies next to each other."""
        pooled = None if self.pooled is None else self.pooled.repeat_interleave(times, 0)
        return Text(self.hidden.repeat_interleave(times, 0), pooled)

    def zeros(self) -> "Text":
        """The same shapes, all zero."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Text(torch.zeros_like(self.hidden), pooled)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Text":
        """The same on a device, in a type."""
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        return Text(self.hidden.to(device, dtype), pooled)

    def added(self, height: int, width: int) -> dict[str, Any] | None:
        """Return SDXL's added conditioning (arXiv 2307.01952).

        It is the pooled text, and the size of a whole image.
        """
        if self.pooled is None:
            return None
        size = [height, width, 0, 0, height, width]
        ids = torch.tensor([size] * len(self.pooled)).to(self.pooled)
        return {"text_embeds": self.pooled, "time_ids": ids}


def stacked(texts: Sequence[Text]) -> Text:
    """Encoded prompts after each other, of one layout."""
    pooled = [text.pooled for text in texts if text.pooled is not None]
    return Text(torch.cat([text.hidden for text in texts]), torch.cat(pooled) if pooled else None)
