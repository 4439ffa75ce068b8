"""Decoding of answers, alike on every arm.

The defaults that a checkpoint brings do not matter.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel

from auditor.core.errors import MeasurementError


class Sampling(BaseModel):
    """Settings of sampled answers; without them decoding is greedy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0


@contextmanager
def decoding(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Have the model decode by ``config`` alone.

    Handed to ``generate``, a configuration is filled up from the model's own wherever it says
    nothing, so that a checkpoint's repetition penalty or suppressed tokens would come back.
    """
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


class RefuseNotFinite(LogitsProcessor):  # type: ignore[misc]
    """Stops generation at logits that are not finite.

    Otherwise argmax would silently turn NaN logits into token 0.
    """

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Pass the scores on, or raise MeasurementError."""
        if torch.isnan(scores).any() or torch.isposinf(scores).any():
            raise MeasurementError("the model's logits are not finite while it generates")
        return scores
