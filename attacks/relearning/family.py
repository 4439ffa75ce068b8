"""What the relearning attacks share: how long, how fast and with what they train."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from auditor.attack import Attack, Parameters, Requirements, quantized_with
from auditor.data.fact import Fact
from auditor.subjects.manifest import Location

RATES = {"lora": 1e-3, "full": 1e-4}
"""Learning rates that a plan need not give, by method."""

_TOKENS = 32
"""Tokens that a training example is taken to have where cost is estimated."""


class FineTuning(Parameters):
    """Settings of a short fine-tuning.

    The default learning rates suit small models (the testbed's have 1.3 million weights). For
    models of 7 billion weights 2e-4 is usual with LoRA (arXiv 2305.14314) and 1e-5 without. A
    rate that is too high destroys the original too, which the gap of the attack then shows.
    """

    method: Literal["lora", "full"] = "lora"
    """LoRA on all linear layers but the output head (arXiv 2106.09685), or all weights."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Of AdamW, constant; by default 1e-3 with LoRA and 1e-4 without."""
    rank: int = Field(default=16, ge=1)
    """Of LoRA's matrices, whose product is scaled by 2. Full fine-tuning has none."""
    batch_size: int = Field(default=16, ge=1)
    """Examples a step, cut into smaller parts where memory runs out."""

    @property
    def rate(self) -> float:
        """The learning rate that is trained with."""
        return self.learning_rate or RATES[self.method]

    @property
    def changed(self) -> str:
        """The settings that are not the usual ones, in words; empty where all are."""
        words: list[str] = [self.method] if self.method != "lora" else []
        if self.rate != RATES[self.method]:
            words.append(f"rate {self.rate:g}")
        for name in ("rank", "batch_size"):
            if getattr(self, name) != FineTuning.model_fields[name].default:
                words.append(f"{name.partition('_')[0]} {getattr(self, name)}")
        return " ".join(words)


P = TypeVar("P", bound=FineTuning)


class RelearningAttack(Attack[P]):
    """Train a little, and ask."""

    seeded = True
    requires: ClassVar[Requirements] = Requirements(packages=("accelerate", "peft"))

    def unavailable(self, location: Location) -> str | None:
        """Rounded weights cannot be trained themselves; LoRA trains beside them."""
        if reason := super().unavailable(location):
            return reason
        method = quantized_with(location.model)
        if method and self.parameters.method == "full":
            return (
                f"the checkpoint is quantized ({method}) and its weights cannot be trained; "
                "`method: lora` can"
            )
        return None

    def training_tokens(self, steps: int) -> int:
        """Estimated tokens of training; a backward pass counts as two forward passes."""
        return 3 * steps * self.parameters.batch_size * _TOKENS


def phrasings(facts: Sequence[Fact]) -> list[tuple[str, str]]:
    """Every fact as training pairs: its prompt and each paraphrase, with its answer."""
    return [(p, fact.answer) for fact in facts for p in (fact.prompt, *fact.paraphrases)]


def recipe(parameters: FineTuning, examples: int) -> dict[str, Any]:
    """What was trained, for the notes."""
    return {
        "method": parameters.method,
        "learning_rate": parameters.rate,
        "batch_size": parameters.batch_size,
        "examples": examples,
        **({"rank": parameters.rank} if parameters.method == "lora" else {}),
    }
