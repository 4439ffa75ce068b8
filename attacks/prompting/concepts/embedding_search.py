"""A gradient search for words whose encoding ends as a prompt's does."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attacks.prompting.concepts.noise_matching import gradient
from attacks.prompting.concepts.searchable_words import Words
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from attacks.prompting.token_swaps import candidates, steepest
from auditor.core.errors import MeasurementError
from auditor.models.batching import run_batched

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage


@dataclass(frozen=True)
class Budget:
    """Size and length of a search."""

    length: int
    """Words of a text."""
    steps: int
    """Steps, each with one gradient."""
    width: int
    """Candidates that are evaluated in each step."""
    topk: int
    """Words of steepest descent that candidates draw from at each place."""


@dataclass(frozen=True)
class Matched:
    """The nearest text of each search."""

    texts: list[str]
    distances: Tensor
    """Distance of the nearest text before the search and after each step, [steps + 1, prompts];
    never rises."""


class EndDistance:
    """Distance of texts from prompts.

    It is 1 - cosine of the states in which they end.

    Args:
        model: model whose text encoders are asked.
        prompts: what texts should be near to.
    """

    def __init__(self, model: "TextToImage", prompts: Sequence[str]) -> None:
        self._encoder = SlotEncoder(model)
        self._budget = model.token_budget
        self._dtype = model.text_encoder.dtype
        with torch.no_grad():
            self._aims = self._encoder.ends([(prompt,) for prompt in prompts])

    def of(self, texts: Sequence[Sequence[str]]) -> list[Tensor]:
        """Return the distances of texts, some for each prompt.

        They are [texts] for each, on the CPU.

        Raises:
            MeasurementError: one is not finite.
        """
        flat = [(number, text) for number, own in enumerate(texts) for text in own]

        def run(batch: list[int]) -> list[Tensor]:
            with torch.no_grad():
                ends = self._encoder.ends([(flat[i][1],) for i in batch])
            aims = self._aims[[flat[i][0] for i in batch]]
            return list((1 - (ends * aims).sum(-1)).cpu())

        lengths = [self._encoder.length] * len(flat)
        found = torch.stack([torch.zeros(()), *run_batched(lengths, self._budget, run)])[1:]
        if not torch.isfinite(found).all():
            raise MeasurementError("the encoding of a searched prompt is not finite")
        return list(torch.split(found, [len(own) for own in texts]))

    def slope(self, given: Tensor) -> Tensor:
        """Return the gradient by the words' embeddings, [prompts, words, width].

        Args:
            given: embeddings of each prompt's words, [prompts, words, width].
        """
        given = given.detach().requires_grad_()
        with torch.enable_grad():
            ends = self._encoder.ends([(None,)] * len(given), given)
            return gradient((1 - (ends * self._aims).sum(-1)).sum(), given, self._dtype)


def match_ends(
    distance: EndDistance,
    words: Words,
    prompts: int,
    budget: Budget,
    seed: int,
    report: Callable[[str], None],
) -> Matched:
    """Search a text for each prompt, by swaps along the gradient.

    The search is that of MMA-Diffusion (arXiv 2311.17516).

    Each step takes the gradient at the text that it stands at, draws candidates that swap one of
    its words for one of steepest descent, and goes on from the nearest of them, be it farther than
    the text before. The nearest text of all is returned.

    Args:
        distance: what is made small.
        words: which can be found.
        prompts: number of searches; each has draws of its own.
        budget: size and length of each.
        seed: seed of the first texts and of the candidates.
        report: shows how far the search has come.
    """
    draws = [random.Random(f"{seed}/{number}") for number in range(prompts)]  # noqa: S311
    everything = list(range(len(words)))
    stands = [[rng.choice(everything) for _ in range(budget.length)] for rng in draws]

    def said(numbers: Sequence[int]) -> str:
        return words.text(torch.tensor(numbers))

    nearest = torch.cat(distance.of([[said(own)] for own in stands]))
    found, history = list(stands), [nearest.clone()]
    for step in range(budget.steps):
        report(f"step {step + 1} of {budget.steps}")
        slope = distance.slope(words.table[torch.tensor(stands)])
        by_word = (slope @ words.table.T).cpu()
        tried = [
            candidates(
                own, steepest(by_word[i], everything, budget.topk), budget.width, 1, draws[i]
            )
            for i, own in enumerate(stands)
        ]
        near = distance.of([[said(each) for each in own] for own in tried])
        for i, distances in enumerate(near):
            if not len(distances):  # a vocabulary of one word
                continue
            stands[i] = tried[i][int(distances.argmin())]
            if distances.min() < nearest[i]:
                found[i], nearest[i] = stands[i], distances.min()
        history.append(nearest.clone())
    return Matched([said(own) for own in found], torch.stack(history))
