"""Directions of the residual stream, from means of hidden states."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from attacks.probing.patching import log_probabilities
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import Learner, adapter, matrices
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.models.causal_lm.hidden_states import States, hidden_states
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.prompting import Encoded
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.negative_preference import negative_preference

Means = npt.NDArray[np.float64]
"""Mean hidden states [layers, width]."""


class Suppression(NamedTuple):
    """Effect of suppressing retain facts in an arm.

    Attributes:
        means: Means of the arm less those of its suppressed copy, [layers, width].
        before: Mean log-probability of the suppressed answers at first, in nats per answer.
        after: The same in the suppressed copy.
    """

    means: Means
    before: float
    after: float


class _Aim(NamedTuple):
    """A training example, with its log-probability at first where it is suppressed."""

    item: Encoded
    before: float | None


def before_answers(
    model: CausalLM, facts: Sequence[Fact], layers: Sequence[int]
) -> dict[int, States]:
    """Return the stream [facts, width] at the last token before each answer.

    Args:
        model: Model whose stream is read.
        facts: Facts whose prompts are asked.
        layers: Layers 1 to L.
    """
    items = model.encode([(fact.prompt, fact.answer) for fact in facts])
    prompts = [Encoded(item.ids[: item.answer[0]], [item.answer[0]]) for item in items]
    found = hidden_states(model, prompts, layers)
    return {layer: np.concatenate([states[layer] for states in found]) for layer in layers}


def means(model: CausalLM, facts: Sequence[Fact], layers: Sequence[int]) -> Means:
    """Return the mean stream before the answers, [layers, width]."""
    states = before_answers(model, facts, layers)
    return np.stack([states[layer].mean(0, dtype=np.float64) for layer in layers])


def suppression(
    model: CausalLM,
    retain: Sequence[Fact],
    layers: Sequence[int],
    settings: FineTuning,
    steps: int,
    seed: int,
) -> Suppression:
    """Suppress every other retain fact, and return how the stream moved.

    LoRA is trained by negative preference optimisation (arXiv 2404.05868) on these facts and by the
    ordinary loss on the other retain facts, and taken off again. Forget facts are not used.

    Args:
        model: The arm; it is exactly as it was afterwards.
        retain: Facts that the arm knows, two at least.
        layers: Layers 1 to L that are read.
        settings: Rank, batch and rate of LoRA.
        steps: Optimiser steps.
        seed: Seed of LoRA and of the order of facts.

    Raises:
        UnavailableError: There are too few facts, or PEFT has no LoRA for the model's layers.
        MeasurementError: A hidden state is not finite.
    """
    if len(retain) < 2:
        raise UnavailableError("a suppression of retain facts needs two of them, and keeps one")
    facts, others = retain[::2], retain[1::2]
    suppressed, kept = (model.encode([(f.prompt, f.answer) for f in p]) for p in (facts, others))
    before = _log_probabilities(model, suppressed)
    plain = means(model, facts, layers)

    def loss(part: Sequence[_Aim]) -> torch.Tensor:
        terms = []
        down = [(aim.item, aim.before) for aim in part if aim.before is not None]
        if down:
            found = model.answer_log_probability([item for item, _ in down])
            reference = torch.tensor([known for _, known in down], device=found.device)
            terms.append(len(down) * negative_preference(found - reference))
        if up := [aim.item for aim in part if aim.before is None]:
            terms.append(len(up) * model.loss(up))
        return torch.stack(terms).sum() / len(part)

    def batches() -> Iterator[list[_Aim]]:
        order = torch.Generator().manual_seed(seed)
        half = max(1, settings.batch_size // 2)
        lower = shuffled_batches(len(suppressed), half, order)
        keep = shuffled_batches(len(kept), half, order)
        while True:
            yield [_Aim(suppressed[i], before[i]) for i in next(lower)] + [
                _Aim(kept[i], None) for i in next(keep)
            ]

    with (
        model.unchanged_weights() as network,
        adapter(network, settings.rank, seed, matrices(network)) as trained,
    ):
        Learner(trained, batches(), loss, settings).advance(steps)
        after = _log_probabilities(model, suppressed)
        moved = plain - means(model, facts, layers)
    return Suppression(moved, float(np.mean(before)), float(np.mean(after)))


def _log_probabilities(model: CausalLM, items: Sequence[Encoded]) -> list[float]:
    """Log-probability of each whole answer, in nats."""
    found = log_probabilities(model, items) * [len(item.answer) for item in items]
    return [float(value) for value in found]
