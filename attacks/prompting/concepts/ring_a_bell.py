"""Genetic search by the text encoder for prompts near a concept."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from attacks.prompting.concepts.concept_names import by_concept, concept_names
from attacks.prompting.concepts.concept_words import Without, pairs, tokens
from attacks.prompting.concepts.found_prompts import MeasuresFoundPrompts, mean_of, spread_out
from attacks.prompting.concepts.genetic_search import Distance, Evolution, evolve
from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import SideFigure
from auditor.core.messages import message
from auditor.core.records import Record

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage

_SPECIAL = 2
"""Tokens that begin and end a prompt."""


class RingABellParameters(Parameters):
    """Settings of the search."""

    eta: float = Field(default=3.0, gt=0)
    """Weight with which the concept's direction is added to a prompt's encoding."""
    prompt_length: int = Field(default=16, ge=1)
    """Tokens of a prompt that is searched; fewer where the encoder has no room for them."""
    population_size: int = Field(default=200, ge=2)
    """Candidates in each generation."""
    generations: int = Field(default=3000, ge=1)
    """Generations of the genetic search; each keeps the better half of the candidates."""
    crossover_rate: float = Field(default=0.5, ge=0, le=1)
    """Probability that a child has a second parent."""
    mutation_rate: float = Field(default=0.25, ge=0, le=1)
    """Probability that one of a child's tokens is drawn anew."""
    prompts: int = Field(default=4, ge=1)
    """Prompts of each concept that are searched, one search each; its facts take turns in using
    what was found. The publication searches one for every prompt."""
    without: Without = "nothing"
    """Text in the concept's place in the prompts that lack it."""
    ban: bool = True
    """Whether tokens that hold the concept's name, or a synonym of the paraphrases, are left
    out."""
    banned: tuple[str, ...] = ()
    """Further words that no token may hold."""
    name: str | None = None
    """Name of the variant, instead of the one made from the pairs and the ban."""


@attack("prompting/ring-a-bell")
class RingABell(MeasuresFoundPrompts, Attack[RingABellParameters, "TextToImage", "ImageEvaluator"]):
    """Genetic search for prompts that encode the concept (Ring-A-Bell)."""

    summary = (
        "Search prompts whose encoding carries the concept, without a look at the image model."
    )
    details = """
    The concept is a direction in the text encoder's output: the mean difference between prompts
    that name it (the facts' prompts and paraphrases) and the same prompts without the name. It
    is added, `eta` times, to a prompt's encoding, and a genetic search looks for ordinary
    tokens whose encoding is near the sum. Tokens that hold the concept's name or a synonym are
    banned, so what is found passes a filter of words. What is found on any arm is drawn by
    every arm, instead of the facts' prompts and from the facts' own seeds; the best counts.

    The text encoder that is asked is the arm's own: where an erasure changed it, the search is
    for what the erased encoder still has. An erasure of the UNet alone leaves the search as it
    is on the original. A prompt is used as text, so a token counts only if the tokenizer reads
    it back; with two encoders (SDXL) the search is near both at once.
    """
    threat_model = "A user who has the text encoder, which is often public, and sends prompts."
    access = "The text encoder's output for the search; prompts alone to use what was found."
    cost = (
        "Prompts times generations times half a population of short texts through the text "
        "encoder, and one drawing of the forget set for each different set of prompts found."
    )
    leak = "The concept is drawn for prompts that do not name it, more than by a retrained model."
    source = "Tsai et al., arXiv 2310.10012; embedding, budget and rates of the published search."

    kinds = ("text-to-image",)
    parameters_type = RingABellParameters
    presets = (Preset("with and without its name"),)
    searches = True
    seeded = True
    effect = "search_loss"

    @property
    def variant(self) -> str:
        """Pairs of prompts, and whether the concept's words are banned."""
        p = self.parameters
        against = "with and without its name" if p.without == "nothing" else "against distractors"
        return p.name or against + ("" if p.ban else ", its words allowed")

    def search(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Search prompts for every concept of the forget set.

        Raises:
            UnavailableError: no prompt names its concept, or the tokenizer reads no token back.
        """
        p = self.parameters
        generator = torch.Generator("cpu").manual_seed(context.seed)
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        found, searched = {}, {}
        for concept, facts in by_concept(context.facts.forget).items():
            named = concept_names(facts).values() if p.ban else ()
            banned = [name for names in named for name in names]
            words = tokens(model.tokenizer, [*banned, *p.banned])
            if not words:
                raise UnavailableError(
                    "the tokenizer reads none of its tokens back from their text"
                )
            prompts = spread_out(facts, p.prompts)
            vector = concept_vector(model, facts, p.without)
            own = model.encode(prompts).float()
            aims = own + p.eta * vector
            settings = Evolution(
                min(p.prompt_length, aims.shape[1] - _SPECIAL),
                p.population_size,
                p.generations,
                p.crossover_rate,
                p.mutation_rate,
            )

            distance = distances(model, words, aims)
            evolved = evolve(distance, len(words), len(prompts), settings, generator)
            found[concept] = [said(row, words) for row in evolved.best.tolist()]
            searched[concept] = {
                "prompts": prompts,
                "tokens": settings.length,
                "words": len(words),
                "own_distance": (own - aims).square().mean(dim=(1, 2)).tolist(),
                "first_distance": evolved.distances[0].tolist(),
                "found_distance": evolved.distances[-1].tolist(),
            }
            arrays[f"distances/{concept}"] = evolved.distances.numpy().astype(np.float32)
        return Record(notes={"found": found, "searched": searched}, arrays=arrays)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Success rates, and how near the search came to its aim."""
        figures = list(super().side_figures(notes))
        for arm, noted in notes.items():
            found = mean_of("found_distance", noted["searched"])
            figures.append(
                SideFigure(
                    "distance_to_aim",
                    arm,
                    found / mean_of("own_distance", noted["searched"]),
                    remarks=(message("distance_as_share"),),
                )
            )
        return figures


def concept_vector(model: "TextToImage", facts: Sequence[Fact], without: Without) -> Tensor:
    """Mean of E(with) - E(without), [length, width] (arXiv 2310.10012).

    It is taken over pairs of prompts.

    Args:
        model: model whose text encoder is E.
        facts: facts of one concept.
        without: what stands in the concept's place.

    Raises:
        UnavailableError: no prompt or paraphrase says the concept's name.
    """
    found = list(pairs(facts, without))
    if not found:
        raise UnavailableError(
            f"no prompt or paraphrase says {facts[0].answer!r}, so there is no pair of prompts "
            "with and without it" + (" (or no distractor)" if without == "distractor" else "")
        )
    given = model.encode([text for text, _ in found]).float()
    lacking = model.encode([text for _, text in found]).float()
    return (given - lacking).mean(dim=0)


def distances(model: "TextToImage", words: Sequence[str], aims: Tensor) -> Distance:
    """Mean squared distance of candidates' encodings from the aims, [searches, length, width]."""

    def distance(candidates: Tensor) -> Tensor:
        searches, count, _ = candidates.shape
        texts = [said(row, words) for row in candidates.flatten(0, 1).tolist()]
        encoded = model.encode(texts).float().view(searches, count, *aims.shape[1:])
        squares: Tensor = (encoded - aims[:, None]).square()
        return squares.mean(dim=(2, 3)).cpu()

    return distance


def said(candidate: Sequence[int], words: Sequence[str]) -> str:
    """The text of a candidate."""
    return " ".join(words[number] for number in candidate)
