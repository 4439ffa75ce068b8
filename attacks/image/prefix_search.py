"""The search for words before prompts: gradients, drawings, and as many drawings without search."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attacks.image.noise_matching import (
    clean_inputs,
    gradient,
    image_shape,
    noised,
    squared_error,
)
from attacks.image.searchable_words import Words
from attacks.image.slot_encoding import SlotEncoder
from attacks.image.token_relaxation import NearestTokens, SimplexTokens, TokenRelaxation
from auditor.data.fact import Fact
from auditor.data.image_seed import image_seed

if TYPE_CHECKING:
    from auditor.image_examiner import ImageExaminer
    from auditor.subjects.text_to_image import TextToImage

Judge = Callable[
    ["TextToImage", "ImageExaminer", Sequence[Fact], Sequence[str]],
    Tensor,
]
"""K of facts with words before their prompts."""


@dataclass(frozen=True)
class Budget:
    """How much is searched."""

    tokens: int
    rounds: int
    iterations: int
    learning_rate: float
    weight_decay: float
    success: float
    at_once: int


@dataclass(frozen=True)
class Task:
    """What is searched for."""

    facts: Sequence[Fact]
    wanted: Tensor
    """Whether a fact is searched for at all, [n] booleans."""


@dataclass
class Found:
    """What a search found, one row a fact."""

    tokens: Tensor
    """Numbers of words, [n, tokens]."""
    knowledge: Tensor
    """The best K that was drawn with them, [n]; 0 where nothing was searched."""
    drawings: int = 0
    """Pictures drawn in the search."""


class PrefixSearch:
    """Searches on one arm.

    Args:
        subject: the arm.
        original: the model before the erasure, for P4D; None for UnlearnDiffAtk.
        words: to be found.
        budget: how much is searched.
        judge: draws and judges.
    """

    def __init__(
        self,
        subject: "TextToImage",
        original: "TextToImage | None",
        words: Words,
        budget: Budget,
        judge: Judge,
    ) -> None:
        self._subject, self._original = subject, original
        self._words, self._budget, self._judge = words, budget, judge
        self._encoder = SlotEncoder(subject)

    def run(self, examiner: "ImageExaminer", task: Task, seed: int) -> Found:
        """Search for all wanted facts, some at once."""
        n = len(task.facts)
        found = Found(torch.zeros(n, self._budget.tokens, dtype=torch.long), torch.zeros(n))
        # a generator a fact: what else is searched for, on this arm or another, changes nothing
        draws = [torch.Generator().manual_seed(seed * n + i) for i in range(n)]
        wanted = task.wanted.nonzero()[:, 0]
        for start in range(0, len(wanted), self._budget.at_once):
            part = wanted[start : start + self._budget.at_once]
            rows = part.tolist()
            some = self._some(examiner, [task.facts[i] for i in rows], [draws[i] for i in rows])
            found.tokens[part], found.knowledge[part] = some.tokens, some.knowledge
            found.drawings += some.drawings
        return found

    def _some(
        self,
        examiner: "ImageExaminer",
        facts: Sequence[Fact],
        draws: Sequence[torch.Generator],
    ) -> Found:
        budget, subject = self._budget, self._subject
        clean = self._clean(examiner, facts)
        relaxation = self._relaxation(draws)
        found = Found(relaxation.best().cpu(), torch.zeros(len(facts)))
        active = list(range(len(facts)))
        for number in range(budget.rounds):
            for _ in range(budget.iterations):
                chances = torch.stack([torch.rand(budget.tokens, generator=d) for d in draws])
                drawn = relaxation.drawn(chances)
                slope = torch.zeros((*drawn.shape, self._encoder.width), device=drawn.device)
                slope[active] = self._gradient(
                    [facts[i] for i in active],
                    drawn[active],
                    clean[active],
                    number,
                    [draws[i] for i in active],
                )
                relaxation.update(slope)
            best = relaxation.best().cpu()
            prefixes = [self._words.text(best[i]) for i in active]
            judged = self._judge(subject, examiner, [facts[i] for i in active], prefixes)
            found.drawings += len(active)
            for i, k in zip(active, judged.tolist(), strict=True):
                if k > found.knowledge[i]:
                    found.tokens[i], found.knowledge[i] = best[i], k
            active = [i for i in active if found.knowledge[i] < budget.success]
            if not active:
                break
        return found

    def _gradient(
        self,
        facts: Sequence[Fact],
        drawn: Tensor,
        clean: Tensor,
        number: int,
        draws: Sequence[torch.Generator],
    ) -> Tensor:
        """Of each fact's loss with respect to its words' embeddings, [n, tokens, width]."""
        prompts = [fact.prompt for fact in facts]
        timesteps = self._timesteps(number, draws)
        shape = self._subject.input_shape
        noise = torch.stack([torch.randn(shape, generator=d) for d in draws])
        noisy = noised(self._subject, clean, timesteps, noise)
        wanted = noise
        if self._original is not None:
            with torch.no_grad():
                plain = self._original.encode(prompts)
                wanted = self._original.predict_noise(noisy, timesteps, plain, prompts)
        given = self._words.table[drawn].requires_grad_()
        with torch.enable_grad():
            hidden = self._encoder.hidden([(None, prompt) for prompt in prompts], given)
            predicted = self._subject.predict_noise(noisy, timesteps, hidden, prompts)
            loss = squared_error(predicted, wanted).sum()
            return gradient(loss, given, self._subject.unet.dtype)

    def _relaxation(self, draws: Sequence[torch.Generator]) -> TokenRelaxation:
        budget, table = self._budget, self._words.table
        shape = (len(draws), budget.tokens)
        if self._original is None:
            return SimplexTokens(table, shape, budget.learning_rate, budget.weight_decay)
        first = [torch.randint(len(table), (budget.tokens,), generator=d) for d in draws]
        return NearestTokens(
            table, shape, budget.learning_rate, budget.weight_decay, torch.stack(first)
        )

    def _clean(self, examiner: "ImageExaminer", facts: Sequence[Fact]) -> Tensor:
        """What is noised: the facts' pictures, or what the original draws for them."""
        if self._original is None:
            images = examiner.images(facts, image_shape(self._subject))
        else:
            prompts = [fact.prompt for fact in facts]
            images = self._original.generate(prompts, [image_seed(f.id) for f in facts])
        return clean_inputs(self._subject, images, self._budget.at_once)

    def _timesteps(self, number: int, draws: Sequence[torch.Generator]) -> Tensor:
        """One for each fact, [n]: the round's own, or random ones for P4D."""
        steps = len(self._subject.signal)
        if self._original is not None:
            return torch.cat([torch.randint(steps, (1,), generator=d) for d in draws])
        return torch.full((len(draws),), int((number + 0.5) * steps / self._budget.rounds))


def random_prefixes(words: Words, facts: int, budget: Budget, seed: int) -> Iterator[list[str]]:
    """Random words for every fact, once a round."""
    draws = torch.Generator().manual_seed(seed)
    for _ in range(budget.rounds):
        chosen = torch.randint(len(words), (facts, budget.tokens), generator=draws)
        yield [words.text(row) for row in chosen]
