"""Objectives of a searched prompt: a true prediction, or the original's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attacks.prompting.concepts.noise_matching import (
    clean_inputs,
    gradient,
    image_shape,
    noised,
    squared_error,
)
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from auditor.core.facts import Fact
from auditor.models.text_to_image.image_seed import image_seed

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


@dataclass(frozen=True)
class Trial:
    """Noised pictures of some prompts, each prompt's own next to each other."""

    prompts: Sequence[str]
    copies: int
    """Noised pictures of each prompt."""
    noisy: Tensor
    """[prompts x copies, *input_shape]."""
    timesteps: Tensor
    wanted: Tensor
    """What should be predicted, of the shape of ``noisy``."""


class NoiseObjective:
    """The loss of words before prompts.

    Without an original it is UnlearnDiffAtk's (arXiv 2310.11868): the error of what is predicted
    in a noised picture of the fact. With one it is P4D's (arXiv 2309.06135): the distance to
    what the original predicts under the plain prompt, in a picture that the original drew.

    Args:
        model: the arm.
        original: the model before the erasure, or None.
        copies: noised pictures a prompt.
        rounds: rounds of the search; each of UnlearnDiffAtk's has a timestep of its own.
    """

    def __init__(
        self,
        model: "TextToImage",
        original: "TextToImage | None",
        copies: int,
        rounds: int,
    ) -> None:
        self._subject, self._original = model, original
        self._copies, self._rounds = copies, rounds
        self._encoder = SlotEncoder(model)

    def clean(self, evaluator: "ImageEvaluator", facts: Sequence[Fact], at_once: int) -> Tensor:
        """Clean inputs [n, *input_shape] that noise is added to.

        Raises:
            UnavailableError: a fact has no picture.
        """
        if self._original is None:
            images = evaluator.images(facts, image_shape(self._subject))
        else:
            prompts = [fact.prompt for fact in facts]
            images = self._original.generate(prompts, [image_seed(f.id) for f in facts])
        return clean_inputs(self._subject, images, at_once)

    def trial(
        self, number: int, prompts: Sequence[str], clean: Tensor, draws: Sequence[torch.Generator]
    ) -> Trial:
        """Noise for the prompts, each from a generator of its own.

        Args:
            number: number of the round.
            prompts: plain.
            clean: their pictures.
            draws: their generators.
        """
        shape = (self._copies, *self._subject.input_shape)
        noise = torch.cat([torch.randn(shape, generator=d) for d in draws])
        timesteps = self._timesteps(number, draws)
        clean = clean.repeat_interleave(self._copies, 0)
        noisy = noised(self._subject, clean, timesteps, noise)
        wanted = self._subject.process.target(clean, noise.to(clean.device))
        if self._original is not None:
            with torch.no_grad():
                plain = self._original.text(prompts).each_repeated(self._copies)
                wanted = self._original.predict(noisy, timesteps, plain)
        return Trial(prompts, self._copies, noisy, timesteps, wanted)

    def slope(self, trial: Trial, given: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient by the words' embeddings, and the loss of each prompt.

        Args:
            trial: trial of n prompts.
            given: embeddings of the words before each, [n, words, width].

        Returns:
            [n, words, width] and, on the CPU, [n].

        Raises:
            MeasurementError: a loss is not finite.
        """
        given = given.detach().requires_grad_()
        with torch.enable_grad():
            text = self._encoder.text([(None, prompt) for prompt in trial.prompts], given)
            predicted = self._subject.predict(
                trial.noisy, trial.timesteps, text.each_repeated(trial.copies)
            )
            losses = squared_error(predicted, trial.wanted).view(-1, trial.copies).mean(1)
            found = gradient(losses.sum(), given, self._subject.denoiser.dtype)
        return found, losses.detach().cpu()

    def _timesteps(self, number: int, draws: Sequence[torch.Generator]) -> Tensor:
        """The round's own, or random ones for P4D, [prompts x copies]."""
        steps = self._subject.process.timesteps
        if self._original is not None:
            return torch.cat([torch.randint(steps, (self._copies,), generator=d) for d in draws])
        own = int((number + 0.5) * steps / self._rounds)
        return torch.full((len(draws) * self._copies,), own)
