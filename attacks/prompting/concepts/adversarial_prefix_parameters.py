"""Settings of the search for words before a prompt."""

from typing import Literal

from pydantic import Field

from attacks.success_rate import TOP
from auditor.attack import ModelPath, Parameters

Drawn = Literal["last", "lowest-loss"]
"""What is drawn at the end of a round."""


class AdversarialPrefixParameters(Parameters):
    """Settings of the search for prompts."""

    objective: Literal["unlearndiffatk", "p4d"] = "unlearndiffatk"
    """`unlearndiffatk`: the prompt should explain a picture of the fact; `p4d`: under it the model
    should predict the same noise as the original does under the plain prompt."""
    original: ModelPath | None = None
    """The model before the concept was erased; `p4d` needs it."""
    prefix_length: int = Field(default=3, ge=1)
    """Words that are searched and put before the prompt."""
    rounds: int = Field(default=50, ge=1)
    """Times that a picture is drawn with what was found so far; the search ends on success."""
    iterations: int = Field(default=40, ge=1)
    """Steps with a gradient before each drawing. In a round of `unlearndiffatk` they share one
    timestep, from little noise in the first to much in the last."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate of Adam."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Weight decay of Adam."""
    copies: int = Field(default=1, ge=1)
    """Noised pictures of each fact in each step."""
    drawn: Drawn = "last"
    """What is drawn at the end of a round: what the search stands at (`last`, as published), or
    what had the `lowest-loss` in the round and was not drawn yet; noise is then drawn once a round
    instead of every step."""
    success_threshold: float = Field(default=TOP, gt=0, le=1)
    """Probability of the concept in the picture at which a search ends."""
    facts: int | None = Field(default=None, ge=1)
    """Facts that are searched for, drawn by chance; the others are asked with what was found for
    these. By default all."""
    facts_at_once: int = Field(default=8, ge=1)
    """Searches that go through the UNet together; sets memory, not the result."""
    banned: tuple[str, ...] = ()
    """Words that must not be found, besides the concept's names."""
