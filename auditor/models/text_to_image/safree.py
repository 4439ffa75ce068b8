"""SAFREE: words that lead to concepts are moved out of their space."""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity

from auditor.models.text_to_image.erasers import Eraser, EraserSettings, Guide, Replaced, eraser
from auditor.models.text_to_image.text_encoding import PromptReader

_MASK = 0
"""Token that stands for a word that is left out."""
_SLOPE = 2.0
"""Factor of the argument of the filter's logistic function."""
_TENFOLD = 10.0
"""Factor of the distance in it."""


class SafreeSettings(EraserSettings):
    """Settings of SAFREE.

    The defaults are those of its authors' program for nudity.
    """

    concepts: tuple[str, ...] = Field(min_length=1)
    """Texts whose pooled embeddings span the space that is left."""
    alpha: float = Field(default=0.01, ge=0)
    """How much farther than without other words a prompt must be from that space without a word,
    for the word to lead there, as a share."""
    most_steps: int | None = Field(default=10, ge=0)
    """Steps at most that the self-validating filter gives to the moved words; None gives all."""
    midpoint: float = 5.333
    """Ten times the distance at which it gives half of them."""
    sharpness: float = Field(default=2.5, gt=0)
    """How fast it goes from none to all."""
    negative: bool = True
    """Whether drawings are guided away from the concepts, too, instead of from no text."""


@eraser("safree")
class Safree(Eraser[SafreeSettings]):
    """SAFREE (arXiv 2410.12761) without the re-attention of latents.

    From the authors' program come the order of projections (the paper has the other), the token of
    masked words and the filter's steps. Re-attention, which damps low frequencies in a UNet's
    up-sampling blocks, is not done.
    """

    settings_type = SafreeSettings
    reads_prompts = True

    @property
    def texts(self) -> tuple[str, ...]:
        """The concepts, where drawings are guided away from them."""
        return (", ".join(self.settings.concepts),) if self.settings.negative else ()

    def replaced(self, prompts: Sequence[str], states: Tensor, reader: PromptReader) -> Replaced:
        """Return prompts with words moved that lead to the concepts."""
        away = _complement(_space_of(self.settings.concepts, reader))
        moved = [
            self._moved(prompt, own, away, reader)
            for prompt, own in zip(prompts, states, strict=True)
        ]
        steps = torch.tensor([count for _, count in moved])
        return Replaced(torch.stack([found for found, _ in moved]).to(states.dtype), steps)

    def _moved(
        self, prompt: str, states: Tensor, away: Tensor, reader: PromptReader
    ) -> tuple[Tensor, int]:
        """States of one prompt with words moved, and first steps with them.

        States are [length, width].

        Word i leads to the concepts if the prompt without it is farther from their space: d_i is
        1 + alpha times the mean of all other d_j, or more, with d_i = ‖(I - P_C) e_i‖ of the pooled
        text e_i with word i masked. A word alone leads there. Its states h become (I - P_C) P_I h,
        where P_I projects on the space of all e_i.
        """
        ids, words = reader.tokens(prompt)
        if not len(words):
            return states, 0
        masked = ids.repeat(len(words), 1)
        masked[torch.arange(len(words)), words] = _MASK
        pooled = reader.pooled(masked).to(states.device)
        far = (pooled @ away).norm(dim=1)
        others = (far.sum() - far) / (len(far) - 1)  # of one word no number, which nothing is below
        leading = words.to(states.device)[~(far < (1 + self.settings.alpha) * others)]
        projected = states.float() @ _projection(pooled) @ away
        found = states.float().clone()
        found[leading] = projected[leading]
        read = len(ids)
        near = cosine_similarity(projected[:read], states[:read].float(), dim=-1)
        return found, self._steps(1.0 - float(near.mean()))

    def _steps(self, distance: float) -> int:
        """First steps with the moved words, by how far all would move."""
        s = self.settings
        if s.most_steps is None:
            return torch.iinfo(torch.int64).max
        argument = _SLOPE * s.sharpness * (_TENFOLD * distance - s.midpoint)
        return round(s.most_steps / (1 + math.exp(-argument))) + 1  # its first one is number 0

    def guide(self) -> "Away":
        """Guide away from the concepts, or from no text."""
        return Away()


class Away(Guide):
    """Classifier-free guidance away from a text, if there is one."""

    def guided(
        self, without: Tensor, with_text: Tensor, others: Sequence[Tensor], guidance: float
    ) -> Tensor:
        """Return ε_C + s (ε_p - ε_C).

        The output without text stands for ε_C where there is none.
        """
        start = others[0] if others else without
        return start + guidance * (with_text - start)


def _space_of(concepts: Sequence[str], reader: PromptReader) -> Tensor:
    """Pooled texts of the concepts, [n, width]."""
    return torch.cat([reader.pooled(reader.tokens(text).ids.unsqueeze(0)) for text in concepts])


def _projection(rows: Tensor) -> Tensor:
    """Return the projection on the space of rows, [width, width]."""
    projection: Tensor = torch.linalg.pinv(rows) @ rows
    return projection


def _complement(rows: Tensor) -> Tensor:
    """Return the projection on what is orthogonal to all rows, [width, width]."""
    return torch.eye(rows.shape[1], device=rows.device) - _projection(rows)
