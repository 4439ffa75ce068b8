"""Suppression of the forget answers in a model.

It reaches a wanted degree, within given bounds.

Negative preference optimisation (arXiv 2404.05868) with the ordinary loss on the retain set as
retain term (NPO+GDR of arXiv 2407.06460), on linear layers alone. Where
bounds are given, every step is followed by a projection into them, which is projected gradient
descent as in arXiv 2405.18137.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from auditor.core.errors import MeasurementError
from auditor.core.facts import Fact
from auditor.core.faults import is_out_of_memory
from auditor.core.progress import Progress
from auditor.models.batching import by_length
from auditor.models.language.layers import embedded_weights
from auditor.models.language.model import Example, LanguageModel
from auditor.models.memory import release_memory
from auditor.positive_controls.window import Window
from auditor.unlearning.adam import Adam
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.negative_preference import negative_preference

_TRAINING_SHARE = 4
"""Divisor of the token budget for a training batch; backward passes keep what forward drops."""
_BISECTIONS = 20


class SuppressionSettings(BaseModel):
    """Settings of a suppression, which are part of a control's name.

    Attributes:
        rate: Adam's learning rate over the root mean square of the trained weights.
        max_steps: Steps after which it is given up.
        forget_batch: Forget facts a step.
        retain_batch: Retain facts a step.
        retain_weight: Weight of the retain term.
        check_every: Steps between looks at what is left.
        seed: Seed of the order of facts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(default=2e-3, gt=0)
    max_steps: int = Field(default=200, gt=0)
    forget_batch: int = Field(default=16, gt=0)
    retain_batch: int = Field(default=16, gt=0)
    retain_weight: float = Field(default=2.0, ge=0)
    check_every: int = Field(default=5, gt=0)
    seed: int = 0


class Bounds(NamedTuple):
    """Least, largest and first value of each weight, in main memory."""

    start: Tensor
    lower: Tensor
    upper: Tensor


class Suppressed(NamedTuple):
    """Result of a suppression."""

    steps: int
    left: float
    """Share of the gap without attack that is left."""


def suppress(
    model: LanguageModel,
    weights: Mapping[str, Tensor],
    forget: Sequence[Fact],
    retain: Sequence[Fact],
    left: Callable[[], float],
    window: Window,
    settings: SuppressionSettings,
    progress: Progress,
    description: str,
    bounds: Mapping[str, Bounds] | None = None,
    instead: Sequence[str] = (),
) -> Suppressed:
    """Train a model until its knowledge lies in ``window``.

    It is trained in place.

    Only the prompts as they are asked are suppressed: a shallow suppression. Where a look finds
    less left than wanted, the point between it and the look before is bisected; the line between
    two points stays within the bounds.

    Args:
        model: the original, float32; its weights are changed.
        weights: what is trained, by name.
        forget: facts whose answers are suppressed.
        retain: facts whose answers are kept.
        left: measures the share of the gap that the model has now.
        window: when to stop.
        settings: rate, batches, seed.
        progress: told about every step.
        description: what is done and why.
        bounds: by the names of ``weights``; training starts at ``start``.
        instead: what the model is taught to say in place of each suppressed answer, if anything.

    Raises:
        MeasurementError: the window was not reached, or the loss is not finite.
    """
    limits = bounds or {}
    with torch.no_grad():
        for name, bound in limits.items():
            weights[name].copy_(bound.start)
    known = left()
    if known <= window.upper:
        raise MeasurementError(
            f"before any suppression the model has only {known:.2f} of the gap left"
        )
    losses = _Losses(model, forget, retain, instead, settings.retain_weight, weights.values())
    model.network.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    optimizer = Adam(
        weights.values(),
        settings.rate * _root_mean_square(weights.values()),
        whole=embedded_weights(model.network),
    )
    order = torch.Generator().manual_seed(settings.seed)
    forget_batches = shuffled_batches(len(forget), settings.forget_batch, order)
    retain_batches = shuffled_batches(len(retain), settings.retain_batch, order)
    before = _copied(weights)
    with progress.task(description, settings.max_steps) as advance:
        for step in range(1, settings.max_steps + 1):
            losses.accumulate(next(forget_batches), next(retain_batches))
            optimizer.step()
            with torch.no_grad():
                for name, bound in limits.items():
                    place = weights[name].device
                    weights[name].clamp_(bound.lower.to(place), bound.upper.to(place))
            if step % settings.check_every:
                advance(1)
                continue
            known = left()
            advance(1, note=f"{known:.0%} of the knowledge left")
            if known <= window.upper:
                if known < window.lower:
                    known = _bisected(weights, before, left, window)
                advance(settings.max_steps - step)
                return Suppressed(step, known)
            before = _copied(weights)
    raise MeasurementError(
        f"after {settings.max_steps} steps {known:.2f} of the gap are left, and at most "
        f"{window.upper:.2f} should be"
    )


class _Losses:
    """Losses of a suppression.

    Their gradients are added up part by part, in smaller parts where memory runs out.

    Args:
        model: the original, before anything is suppressed.
        forget: facts whose answers are suppressed.
        retain: facts whose answers are kept.
        instead: what is said in place of each suppressed answer, if anything.
        retain_weight: weight of what is said.
        weights: what is trained.
    """

    def __init__(
        self,
        model: LanguageModel,
        forget: Sequence[Fact],
        retain: Sequence[Fact],
        instead: Sequence[str],
        retain_weight: float,
        weights: Iterable[Tensor],
    ) -> None:
        self._model = model
        self._forgotten = model.encode([(f.prompt, f.answer) for f in forget])
        self._kept = model.encode([(f.prompt, f.answer) for f in retain])
        self._taught = model.encode(
            [(f.prompt, say) for f, say in zip(forget, instead, strict=False)]
        )
        self._retain_weight = retain_weight
        self._weights = list(weights)
        self._tokens = max(1, model.token_budget // _TRAINING_SHARE)
        self._reference = self._log_probabilities()

    def accumulate(self, forget: Sequence[int], retain: Sequence[int]) -> None:
        """Add the gradients of a step's losses.

        Args:
            forget: places of the facts that are suppressed.
            retain: places of those that are kept.

        Raises:
            MeasurementError: the loss is not finite.
        """
        while True:
            try:
                self._forget(forget)
                if self._taught:
                    self._say(self._taught, forget)
                self._say(self._kept, retain)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._tokens == 1:
                    raise
            else:
                return
            for weight in self._weights:
                weight.grad = None
            release_memory()
            self._tokens = max(1, self._tokens // 2)

    def _forget(self, batch: Sequence[int]) -> None:
        """Add the gradient of the NPO loss."""
        for part in self._parts(self._forgotten, batch):
            items = [self._forgotten[i] for i in part]
            log_probability = self._model.answer_log_probability(items)
            before = self._reference[part].to(log_probability.device)
            loss = negative_preference(log_probability - before)
            if not torch.isfinite(loss):
                raise MeasurementError("the loss of the suppression is not finite")
            torch.autograd.backward(loss * (len(part) / len(batch)))

    def _say(self, items: Sequence[Example], batch: Sequence[int]) -> None:
        """Add the gradient of the ordinary loss on what should be said."""
        tokens = sum(items[i].answer_tokens for i in batch)
        for part in self._parts(items, batch):
            share = sum(items[i].answer_tokens for i in part) / tokens
            loss = self._model.loss([items[i] for i in part])
            torch.autograd.backward(self._retain_weight * share * loss)

    @torch.no_grad()
    def _log_probabilities(self) -> Tensor:
        """Log-probability of each answer before anything is suppressed, [items]."""
        found = torch.empty(len(self._forgotten))
        for part in self._parts(self._forgotten, range(len(self._forgotten))):
            items = [self._forgotten[i] for i in part]
            found[part] = self._model.answer_log_probability(items).cpu()
        return found

    def _parts(self, items: Sequence[Example], batch: Sequence[int]) -> list[list[int]]:
        """Return a batch of indices, cut into parts.

        Each part can be trained on at once.
        """
        lengths = [items[i].tokens for i in batch]
        return [[batch[i] for i in part] for part in by_length(lengths, self._tokens)]


@torch.no_grad()
def _bisected(
    weights: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    left: Callable[[], float],
    window: Window,
) -> float:
    """Bisect back to the last look until the window is met.

    The points lie on the line between the two looks.
    """
    after = _copied(weights)
    near, far = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        for name, weight in weights.items():
            earlier, later = (look[name].to(weight.device) for look in (before, after))
            weight.copy_(torch.lerp(earlier, later, middle))
        known = left()
        if window.lower <= known <= window.upper:
            return known
        near, far = (middle, far) if known > window.upper else (near, middle)
    raise MeasurementError(
        f"what is left jumps over {window.lower:.2f} to {window.upper:.2f} of the gap"
    )


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of the weights in main memory."""
    return {name: w.detach().to("cpu", copy=True) for name, w in weights.items()}


def _root_mean_square(weights: Iterable[Tensor]) -> float:
    squares, count = 0.0, 0
    for weight in weights:
        squares += float(weight.detach().double().square().sum())
        count += weight.numel()
    return math.sqrt(squares / count)
