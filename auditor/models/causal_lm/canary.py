"""Canary of another engine: its texts, read by the network.

An engine computes the same sums in another order, so that two tokens whose logits nearly tie may
change places. Whether a text is the network's own is therefore asked token by token, each given
those before it in that text: a token that falls short of the most probable one by more than
rounding can explain was written by another model. One pass reads all tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from auditor.models.causal_lm.prompting import Encoded
from auditor.models.language.model import LanguageModel
from auditor.models.language.scoring import AnswerLogits

ROUNDED, ROUNDED_HALF = 2e-3, 1e-1
"""Most by which a token may fall short of the most probable one, by the spread of logits (their
standard deviation over the vocabulary): each of the two may be moved by half as much, at full and
at half precision."""
DECISIVE = 8
"""Tokens at least that no rounding could have put in the place of others."""


class Agreement(NamedTuple):
    """Agreement of an engine's texts with the network in memory."""

    tokens: int
    """Tokens that were read."""
    decisive: int
    """Of them, those whose place the second most probable token could not have taken."""
    shortfall: float
    """Most by which a token fell short of the most probable one, by the spread of logits."""
    allowed: float
    """Most that rounding explains."""

    @property
    def holds(self) -> bool:
        """Whether the texts agree, and enough tokens could have been others."""
        return self.agrees and self.decisive >= DECISIVE

    @property
    def agrees(self) -> bool:
        """Whether every token is the network's own, but for rounding."""
        return self.shortfall <= self.allowed  # not so where it is NaN


def agreement(
    model: LanguageModel[Encoded], starts: Sequence[list[int]], texts: Sequence[list[int]]
) -> Agreement:
    """Read an engine's greedy texts with the network in memory.

    Args:
        model: The model; its network is asked as it is now.
        starts: Token ids of the prompts.
        texts: Token ids that the engine wrote after each, at least one.

    Raises:
        MeasurementError: One text alone runs out of memory.
    """
    items = [
        Encoded([*start, *text], list(range(len(start), len(start) + len(text))))
        for start, text in zip(starts, texts, strict=True)
    ]
    exact = model.network.dtype in (torch.float32, torch.float64)
    allowed = ROUNDED if exact else ROUNDED_HALF

    def run(batch: list[int]) -> list[tuple[float, int]]:
        with torch.inference_mode():
            return _read(model.answer_logits([items[i] for i in batch]), allowed)

    found = model.batched([item.tokens for item in items], run)
    return Agreement(
        tokens=sum(map(len, texts)),
        decisive=sum(decisive for _, decisive in found),
        shortfall=float(torch.tensor([short for short, _ in found]).max()),  # NaN stays NaN
        allowed=allowed,
    )


def _read(answers: AnswerLogits, allowed: float) -> list[tuple[float, int]]:
    """Return each text's largest shortfall and number of decisive tokens."""
    logits = answers.logits.float()
    best, second = logits.topk(2, dim=-1).values.unbind(-1)
    spread = logits.std(-1)
    short = (best - logits.gather(-1, answers.targets[:, None])[:, 0]) / spread
    clear = (best - second) / spread > allowed
    parts = zip(*(torch.split(each, answers.lengths) for each in (short, clear)), strict=True)
    return [(float(one.max()), int(two.sum())) for one, two in parts]
