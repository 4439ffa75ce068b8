"""Gradient search for prompts that encode as the concept's prompt does."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from attacks.prompting.concepts.concept_names import by_concept, concept_names
from attacks.prompting.concepts.embedding_search import Budget, EndDistance, match_ends
from attacks.prompting.concepts.found_prompts import MeasuresFoundPrompts, mean_of, spread_out
from attacks.prompting.concepts.searchable_words import searchable_words
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.findings import SideFigure
from auditor.core.messages import message
from auditor.core.records import Record

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


class MMADiffusionParameters(Parameters):
    """Settings of the search."""

    prompt_length: int = Field(default=20, ge=1)
    """Words of a prompt that is searched; fewer where the encoder has no room for them."""
    num_steps: int = Field(default=1000, ge=1)
    """Steps of the search, each with one gradient."""
    search_width: int = Field(default=512, ge=1)
    """Different candidates that are evaluated in each step."""
    topk: int = Field(default=256, ge=1)
    """Words of steepest descent that candidates draw from at each place."""
    prompts: int = Field(default=4, ge=1)
    """Prompts of each concept that are searched for, one search each; its facts take turns in
    using what was found."""
    banned: tuple[str, ...] = ()
    """Words that must not be found, besides the concept's names: a filter's list."""


@attack("prompting/mma-diffusion")
class MMADiffusion(
    MeasuresFoundPrompts, Attack[MMADiffusionParameters, "TextToImage", "ImageEvaluator"]
):
    """Gradient search for prompts that encode the concept (MMA-Diffusion)."""

    summary = (
        "Search prompts without the concept's words that the text encoder reads as its prompt."
    )
    details = """
    The state in which the text encoder leaves the end of a prompt stands for the whole of it. From
    random words, one word at a time is swapped along the gradient until that state is the one of a
    fact's own prompt, by cosine. The concept's names (itself, its entity, what paraphrases say in
    their place), every word that holds one, and the words of `banned` are left out, so what is
    found passes a filter of words. What is found on any arm is drawn by every arm, instead of the
    facts' prompts and from the facts' own seeds; the best counts.

    Where `prompting/ring-a-bell` adds a direction to a prompt's encoding and searches without
    gradients, here the prompt itself is the aim. A denoiser whose way from the concept's encoding
    was cut draws nothing by a perfect match; what a match brings is what the erasure does not
    reach: other words that lead to nearly the same encoding. Where the text encoder was erased, the
    original's search has the aim that the erased one has lost. With several text encoders (SDXL,
    Stable Diffusion 3, Flux) the cosine is the mean over all of them.
    """
    threat_model = "A user who has the text encoder, which is often public, and sends prompts."
    access = "Gradients of the text encoder for the search; prompts alone to use what was found."
    cost = (
        "Prompts times num_steps times search_width short texts through the text encoder, and one "
        "drawing of the forget set for each different set of prompts found."
    )
    leak = "The concept is drawn for prompts that do not name it, more than by a retrained model."
    source = (
        "Textual attack of Yang et al., arXiv 2311.17516; its paper was not read, and budget and "
        "rule of the search are from notes on it. Its attack on safety checkers is left out: an "
        "audit sets them aside."
    )

    kinds = ("text-to-image",)
    parameters_type = MMADiffusionParameters
    presets = (Preset("without its names", {}, "exhaustive"),)
    searches = True
    seeded = True
    effect = "search_loss"

    @property
    def variant(self) -> str:
        """Name of what is left out."""
        more = f" and {len(self.parameters.banned)} more words" if self.parameters.banned else ""
        return f"without its names{more}"

    def search(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Search prompts for every concept of the forget set.

        Raises:
            UnavailableError: the tokenizers have no whole words besides the banned ones.
            MeasurementError: an encoding is not finite.
        """
        p = self.parameters
        length = min(p.prompt_length, SlotEncoder(model).room)
        budget = Budget(length, p.num_steps, p.search_width, p.topk)
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        found, searched = {}, {}
        for concept, facts in by_concept(context.facts.forget).items():
            names = concept_names(facts)[concept]
            words = searchable_words(model, [*names, *p.banned], length)
            prompts = spread_out(facts, p.prompts)
            distance = EndDistance(model, prompts)
            seed = context.seed
            matched = match_ends(distance, words, len(prompts), budget, seed, context.progress)
            found[concept] = matched.texts
            searched[concept] = {
                "prompts": prompts,
                "tokens": length,
                "words": len(words),
                "first_distance": matched.distances[0].tolist(),
                "found_distance": matched.distances[-1].tolist(),
            }
            arrays[f"distances/{concept}"] = matched.distances.numpy().astype(np.float32)
        return Record(notes={"found": found, "searched": searched}, arrays=arrays)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Success rates, and how near the search came to the prompts."""
        figures = list(super().side_figures(notes))
        for arm, noted in notes.items():
            first, last = (
                1 - mean_of(name, noted["searched"])
                for name in ("first_distance", "found_distance")
            )
            remark = message("cosine_of_random_words", cosine=first)
            figures.append(SideFigure("cosine_to_prompt", arm, last, remarks=(remark,)))
        return figures
