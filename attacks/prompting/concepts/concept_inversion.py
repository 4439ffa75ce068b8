"""A new word for the concept, learned from pictures of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from attacks.prompting.concepts.concept_names import Pieces, concept_names, without_names
from attacks.prompting.concepts.noise_matching import (
    clean_inputs,
    denoising_loss,
    gradient,
    image_shape,
)
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from attacks.success_rate import ReportsSuccessRate
from auditor.attack import Attack, AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import SideFigure
from auditor.core.messages import message
from auditor.core.records import Record, Row, strongest
from auditor.models.batching import run_batched
from auditor.statistics.effect import effect_note

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage
    from auditor.models.text_to_image.text import Text

_WEIGHT_DECAY = 0.01
_ROWS = 200
"""Passes through the denoiser that the estimate takes an evaluation to have at least."""


class ConceptInversionParameters(Parameters):
    """Settings of concept inversion."""

    num_vectors: int = Field(default=1, ge=1)
    """Embeddings that are learned for each concept; together they form the new word."""
    num_steps: int = Field(default=5000, ge=1)
    """Optimiser steps of AdamW."""
    batch_size: int = Field(default=16, ge=1)
    """Noised pictures in each step."""
    micro_batch_size: int = Field(default=4, ge=1)
    """Pictures of a batch that go through the denoiser together; sets memory, not the result."""
    learning_rate: float = Field(default=0.08, gt=0)
    """Learning rate of AdamW. The published one is 0.005 times a batch of 16."""
    images: int = Field(default=25, ge=1)
    """Pictures of each concept that are learned from."""
    start: Literal["neutral", "name"] = "neutral"
    """Start of the embeddings: the mean of all words, or the concept's own name."""


@attack("prompting/concept-inversion")
class ConceptInversion(
    ReportsSuccessRate, Attack[ConceptInversionParameters, "TextToImage", "ImageEvaluator"]
):
    """Textual inversion of the erased concept."""

    summary = (
        "Learn a new word for the concept from a few pictures, and ask with it in the name's place."
    )
    details = """
    A new token's embedding is trained with the denoising loss until the erased model, told the
    new word, denoises pictures of the concept well. Each picture's own prompt, with the new
    word where the concept's names stood, describes it. Names are the concept, its entity, and
    what stands in their place in a paraphrase; a prompt without any gets the new word in front.
    The embeddings of all arms are pooled and every arm is measured with all of them; the
    strongest counts. Retain prompts are asked as they are.

    Nothing is written into the tokenizer or the weights. Where there are several text encoders
    (SDXL, Stable Diffusion 3, Flux) the new word has an embedding in each, and the pooled text
    is that of the prompt with the new word. The loss of a model of flows is that of the predicted
    velocity.
    """
    threat_model = "Someone with the weights and some pictures of the concept."
    access = "The weights, for the search and for the use; no text does the same."
    cost = (
        "For each concept and on each arm, num_steps times batch_size passes with gradients; then "
        "the forget set once an arm."
    )
    leak = (
        "The concept is still in the denoiser, and only the way to it from its names is cut. A "
        "model that never saw the concept does not draw it by a new word either."
    )
    source = (
        "Textual inversion is from Gal et al., arXiv 2208.01618; against erased models from Pham "
        "et al., arXiv 2308.01508."
    )

    kinds = ("text-to-image",)
    parameters_type = ConceptInversionParameters
    presets = (
        Preset("1 vector", {}, "quick", mandatory=True),
        Preset("4 vectors", {"num_vectors": 4}, "exhaustive"),
        Preset("1 vector from the name", {"start": "name"}, "exhaustive"),
    )
    requires = Requirements(images=True)
    seeded = True
    searches = True
    effect = "search_loss"

    @property
    def variant(self) -> str:
        """Number of vectors, and where they start."""
        p = self.parameters
        plural = "" if p.num_vectors == 1 else "s"
        return f"{p.num_vectors} vector{plural}{' from the name' if p.start == 'name' else ''}"

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of one word's training, and of the forget set."""
        p = self.parameters
        return 3 * p.num_steps * p.batch_size + max(_ROWS, 3 * evaluation)

    def search(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Learn a word for each concept.

        Raises:
            UnavailableError: there are no pictures of a concept.
            MeasurementError: a loss is not finite.
        """
        encoder = SlotEncoder(model)
        names = concept_names(context.facts.forget)
        found, losses, used = [], [], []
        for index, concept in enumerate(names):
            draws = torch.Generator().manual_seed(context.seed * len(names) + index)
            facts = self._pictured(context.evaluator, concept, draws)
            prompts = [without_names(fact.prompt, names[concept]) for fact in facts]
            clean = clean_inputs(
                model,
                context.evaluator.images(facts, image_shape(model)),
                self.parameters.micro_batch_size,
            )
            start = self._start(encoder, concept)
            vectors, loss = self._train(model, encoder, start, clean, prompts, draws)
            found.append(vectors.numpy())
            losses.append(loss)
            used.append(len(facts))
        notes = {
            "concepts": list(names),
            "names": {concept: list(names[concept]) for concept in names},
            "images": used,
            "loss_first": [loss[0] for loss in losses],
            "loss_last": [loss[1] for loss in losses],
        }
        return Record(notes=notes, arrays={"vectors": np.stack(found)})

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Ask with every arm's word in place of the concept's names.

        Raises:
            UnavailableError: no arm's embeddings have the width of this one's.
        """
        evaluator = context.evaluator
        encoder = SlotEncoder(model)
        names = concept_names(evaluator.sets.forget)
        readings: dict[str, list[Row]] = {}
        for finding in context.pool:
            vectors = torch.from_numpy(finding.record.arrays["vectors"])
            if vectors.shape[-1] == encoder.width:
                readings[finding.arm] = _asked(model, evaluator, encoder, names, vectors)
        if not readings:
            raise UnavailableError("no arm's text encoder has embeddings as wide as this one's")
        own = next(finding for finding in context.pool if finding.own)
        primary = next(iter(evaluator.metrics))
        return self.record(
            (*strongest(readings.values()), *evaluator.evaluate(model, ("retain",))),
            loss={
                "first": float(np.mean(own.record.notes["loss_first"])),
                "last": float(np.mean(own.record.notes["loss_last"])),
            },
            effect=effect_note(
                self.effect,
                float(np.mean(own.record.notes["loss_first"])),
                float(np.mean(own.record.notes["loss_last"])),
            ),
            mean_k_by_word_of={
                arm: float(np.mean([row.k for row in rows if row.metric == primary]))
                for arm, rows in readings.items()
            },
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Success rates, and the final loss of each arm's own word."""
        return (
            *super().side_figures(notes),
            *(
                SideFigure(
                    "final_denoising_loss",
                    arm,
                    noted["loss"]["last"],
                    remarks=(message("loss_at_beginning", loss=noted["loss"]["first"]),),
                )
                for arm, noted in notes.items()
                if "loss" in noted
            ),
        )

    def _pictured(
        self, evaluator: "ImageEvaluator", concept: str, draws: torch.Generator
    ) -> list[Fact]:
        """Facts of a concept whose pictures are learned from."""
        facts = [f for f in evaluator.sets.forget if f.answer == concept]
        known = [f for f in facts if evaluator.has_images([f])]
        if not known:
            evaluator.images(facts, (1, 1))  # says what is missing
            raise UnavailableError(f"the plan gives no picture of {concept!r} (`data.images`)")
        order = torch.randperm(len(known), generator=draws)[: self.parameters.images]
        return [known[i] for i in sorted(order.tolist())]

    def _start(self, encoder: SlotEncoder, concept: str) -> Tensor:
        """First embeddings, [vectors, width]."""
        named = self.parameters.start == "name"
        mean = encoder.mean_embedding(concept if named else None)
        return mean.repeat(self.parameters.num_vectors, 1)

    def _train(
        self,
        model: "TextToImage",
        encoder: SlotEncoder,
        vectors: Tensor,
        clean: Tensor,
        prompts: Sequence[Pieces],
        draws: torch.Generator,
    ) -> tuple[Tensor, tuple[float, float]]:
        """Train embeddings [vectors, width] on the CPU.

        The mean loss of the first and of the last steps is returned with them.
        """
        p = self.parameters
        vectors = vectors.clone().requires_grad_()
        optimizer = torch.optim.AdamW([vectors], lr=p.learning_rate, weight_decay=_WEIGHT_DECAY)
        losses = []
        for _ in range(p.num_steps):
            chosen = torch.randint(len(clean), (p.batch_size,), generator=draws)
            timesteps = torch.randint(model.process.timesteps, (p.batch_size,), generator=draws)
            noise = torch.randn((p.batch_size, *clean.shape[1:]), generator=draws)
            vectors.grad, total = torch.zeros_like(vectors), 0.0
            for part in torch.split(torch.arange(p.batch_size), p.micro_batch_size):
                rows = chosen[part].tolist()
                with torch.enable_grad():
                    text = encoder.text([prompts[i] for i in rows], vectors[None])
                    errors = denoising_loss(model, clean[rows], timesteps[part], noise[part], text)
                    loss = errors.sum() / p.batch_size
                    vectors.grad += gradient(loss, vectors, model.denoiser.dtype)
                total += loss.item()
            optimizer.step()
            losses.append(total)
        window = max(1, len(losses) // 10)
        ends = float(np.mean(losses[:window])), float(np.mean(losses[-window:]))
        return vectors.detach().cpu(), ends


def _asked(
    model: "TextToImage",
    evaluator: "ImageEvaluator",
    encoder: SlotEncoder,
    names: Mapping[str, Sequence[str]],
    vectors: Tensor,
) -> list[Row]:
    """The forget set, asked with one arm's words."""
    rows: list[Row] = []
    for concept, words in zip(names, vectors.to(encoder.device), strict=True):
        members = {fact.id for fact in evaluator.sets.forget if fact.answer == concept}

        def embeddings(
            prompts: Sequence[str], words: Tensor = words, concept: str = concept
        ) -> "Text":
            from auditor.models.text_to_image.text import stacked  # costs seconds

            pieces = [without_names(prompt, names[concept]) for prompt in prompts]

            def run(batch: list[int]) -> "list[Text]":
                with torch.no_grad():
                    text = encoder.text([pieces[i] for i in batch], words[None])
                return [text.rows([i]) for i in range(len(batch))]

            lengths = [encoder.length] * len(pieces)
            return stacked(run_batched(lengths, model.token_budget, run))

        rows += evaluator.evaluate(model, ("forget",), only=members, embeddings=embeddings)
    return rows
