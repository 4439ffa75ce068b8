"""Base of the relearning attacks: settings of fine-tuning and curves."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field

from auditor.attack import Attack, Footprint, Parameters, Requirements
from auditor.core.facts import Fact
from auditor.core.findings import Curve
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import quantization_method
from auditor.models.manifest import Location

_TOKENS = 32
"""Tokens that a training example is taken to have where cost is estimated."""
_COPIED = 2.0
"""Bytes that a weight of a half type has more in float32."""
_GRADIENT = 4.0
"""Bytes of a weight's gradient."""

MOST_TAUGHT = 32
"""Facts or examples at most that say what a training taught."""

MOST_POINTS = 200
"""Points of a learning curve that is to be drawn."""


class FineTuning(Parameters):
    """Settings of a short fine-tuning.

    Steps are relative to the weights (`equilibration.py`): a rate means for every model what it
    means for one whose weights have a root mean square of 0.02. For models of 7 billion weights
    2e-4 is usual with LoRA (arXiv 2305.14314) and 1e-5 without. A rate that is too high destroys
    the original too, which the gap of the attack then shows.
    """

    rates: ClassVar[Mapping[str, float]] = {"lora": 6e-4, "full": 6e-5}
    """Learning rates that a plan need not give, by method."""

    method: Literal["lora", "full"] = "lora"
    """LoRA on all matrices, output head and embeddings too (arXiv 2106.09685), or all weights."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Constant learning rate of Adam, relative to the weights; by default 6e-4 with LoRA and 6e-5
    without."""
    rank: int = Field(default=16, ge=1)
    """Rank of LoRA's matrices, whose product is scaled by 2. Full fine-tuning has none."""
    batch_size: int = Field(default=16, ge=1)
    """Examples in each step; a batch is cut into parts where memory runs out."""

    @property
    def rate(self) -> float:
        """Learning rate of the training."""
        return self.learning_rate or self.rates[self.method]

    @property
    def changed(self) -> str:
        """Settings that are not the usual ones, in words.

        It is empty where all are usual.
        """
        words: list[str] = [self.method] if self.method != "lora" else []
        if words_of_rate := self.changed_rate:
            words.append(words_of_rate)
        for name in ("rank", "batch_size"):
            if getattr(self, name) != FineTuning.model_fields[name].default:
                words.append(f"{name.partition('_')[0]} {getattr(self, name)}")
        return " ".join(words)

    @property
    def changed_rate(self) -> str:
        """The learning rate in words; empty where it is the usual one."""
        return "" if self.rate == self.rates[self.method] else f"rate {self.rate:g}"

    @property
    def trained(self) -> Message:
        """Message on what is fine-tuned."""
        if self.method == "lora":
            return message("lora_trained", rank=self.rank)
        return message("all_weights_trained")


P = TypeVar("P", bound=FineTuning)
T = TypeVar("T")


class RelearningAttack(Attack[P]):
    """Train a little, and ask."""

    seeded = True
    requires: ClassVar[Requirements] = Requirements(packages=("accelerate", "peft"))

    def unavailable(self, location: Location) -> Message | None:
        """Rounded weights cannot be trained themselves; LoRA trains beside them."""
        if reason := super().unavailable(location):
            return reason
        method = quantization_method(location.model)
        if method and self.parameters.method == "full":
            return message("quantized_weights_not_trainable", method=method)
        return None

    @property
    @abstractmethod
    def taught(self) -> Message:
        """Message on what is taught and what is asked."""

    @property
    def footprint(self) -> Footprint:
        """Adam's two moments and gradients, of adapters or of weights in float32."""
        p = self.parameters
        tokens = p.batch_size * _TOKENS
        if p.method == "lora":
            return Footprint(rank=p.rank, backward=tokens)
        from auditor.unlearning.adam import ROUNDED_BYTES, WHOLE_BYTES  # settings need no torch

        return Footprint(
            lent=True,
            aside=True,
            trained=_COPIED + ROUNDED_BYTES,
            accumulated=_GRADIENT,
            # their moments are not rounded, and their gradient is the largest of all
            embeddings=WHOLE_BYTES - ROUNDED_BYTES + _GRADIENT,
            backward=tokens,
        )

    def training_tokens(self, steps: int) -> int:
        """Estimated tokens of training; a backward pass counts as two forward passes."""
        return 3 * steps * self.parameters.batch_size * _TOKENS

    def curves(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[Curve]:
        """Learning curve of every arm, from before the training on.

        K is a mean over seeds.
        """
        return learning_curves(notes, (self.parameters.trained, self.taught))


def learning_curves(
    notes: Mapping[str, Mapping[str, Any]], trained: tuple[Message, ...]
) -> tuple[Curve, ...]:
    """The curve of every arm that noted one.

    Args:
        notes: arm to what its measurement noted.
        trained: what was trained on what.
    """
    return tuple(
        Curve(
            name="learning_curve",
            of=arm,
            x="optimiser_steps",
            y="mean_k_forget",
            points=spread([(step, k) for step, k in noted["curve"]], MOST_POINTS),
            params={"metric": noted["metric"]},
            remarks=(*trained, message("first_seed")),
        )
        for arm, noted in notes.items()
        if "curve" in noted and "metric" in noted
    )


def phrasings(facts: Sequence[Fact]) -> list[tuple[str, str]]:
    """Training pairs of facts: each phrasing with its answer."""
    return [(p, fact.answer) for fact in facts for p in (fact.prompt, *fact.paraphrases)]


def spread(items: Sequence[T], most: int) -> tuple[T, ...]:
    """Return at most ``most`` evenly spread items, with both ends."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return tuple(items[place] for place in places)


def recipe(parameters: FineTuning, examples: int) -> dict[str, Any]:
    """Notes on what was trained, the learning rate aside."""
    return {
        "method": parameters.method,
        "batch_size": parameters.batch_size,
        "examples": examples,
        **({"rank": parameters.rank} if parameters.method == "lora" else {}),
    }
