"""A few pictures bring an erased concept back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field

from attacks.prompting.concepts.noise_matching import image_shape
from attacks.relearning.denoising_training import denoising_error, denoising_learner
from attacks.relearning.family import FineTuning, learning_curves, recipe
from attacks.relearning.learning_curve import Checkpoints, area, curve, followed
from attacks.success_rate import ReportsSuccessRate
from auditor.attack import Attack, AttackContext, Preset, Requirements, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Curve, SideFigure
from auditor.core.messages import message
from auditor.core.records import Record

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


class UNetRelearningParameters(FineTuning):
    """Settings of relearning from pictures.

    The defaults suit Stable Diffusion 1.x: rank and learning rates are those of diffusers'
    examples of fine-tuning it. A rate that is too high destroys the original too, which the gap
    of the attack then shows.
    """

    rates: ClassVar[Mapping[str, float]] = {"lora": 1e-4, "full": 1e-5}

    method: Literal["lora", "full"] = "lora"
    """LoRA on the projections of the attention of UNet or transformer (arXiv 2106.09685), or all
    its weights."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Constant learning rate of Adam, relative to the weights; by default 1e-4 with LoRA and 1e-5
    without."""
    rank: int = Field(default=4, ge=1)
    """Rank of LoRA's matrices, whose product is scaled by 2. Full fine-tuning has none."""
    batch_size: int = Field(default=4, ge=1)
    """Pictures in each step; a batch is cut into parts where memory runs out."""
    data: Literal["forget", "retain"] = "forget"
    """What is taught: pictures of the forgotten concept, or of what was to be kept."""
    pictures: int = Field(default=16, ge=1)
    """Pictures that are taught, with their prompts; drawn by the seed, all if there are fewer."""
    checkpoints: Checkpoints = (25, 50, 100, 200)
    """Optimiser steps at which the facts are asked; K is the mean over them."""


@attack("relearning/unet")
class UNetRelearning(
    ReportsSuccessRate, Attack[UNetRelearningParameters, "TextToImage", "ImageEvaluator"]
):
    """Fine-tuning of a text-to-image model's UNet or transformer."""

    summary = (
        "Fine-tune the UNet or transformer on a few pictures with their prompts, and ask for the "
        "forgotten concept."
    )
    details = """
    The loss is that of training, the squared error of the predicted noise, or of the predicted
    velocity where the model is a flow. With pictures of the
    forgotten concept a model that still holds it needs a few steps, and one that never saw it
    many; with pictures of what was to be kept (benign relearning) nothing of the concept is
    taught at all. K is the mean over a fixed grid of steps: the area under the learning curve,
    normalised. All forget facts are asked, those whose pictures are taught too: what the
    training itself teaches it teaches every arm, from the same pictures with the same noise,
    and the retrained models say how much that is. Steps are relative to the weights, so that
    their scale decides nothing; the training must have lowered the loss of what is taught.
    """
    threat_model = (
        "Anybody who fine-tunes the released model, with some pictures of the concept or, "
        "without meaning harm, with others."
    )
    access = "Weights, or fine-tuning; a few pictures."
    cost = "200 steps of 4 pictures and five evaluations."
    leak = "The unlearned model draws the concept after fewer steps than a retrained one."
    source = (
        "Concepts come back under benign fine-tuning, arXiv 2410.08074; denoising loss, arXiv "
        "2006.11239; loss of flows, arXiv 2210.02747; LoRA, arXiv 2106.09685."
    )

    kinds = ("text-to-image",)
    effect = "taught_loss"
    parameters_type = UNetRelearningParameters
    presets = (
        Preset("lora forget", {"method": "lora", "data": "forget"}, "quick", mandatory=True),
        Preset("full forget", {"method": "full", "data": "forget"}),
        Preset("lora retain", {"method": "lora", "data": "retain"}),
    )
    requires = Requirements(packages=("accelerate", "peft"), images=True)
    seeded = True

    @property
    def variant(self) -> str:
        """Trained weights, and set of the pictures."""
        return f"{self.parameters.method} {self.parameters.data}"

    def forward_tokens(self, evaluation: int) -> int:
        """The training, and an evaluation a checkpoint."""
        steps = self.parameters.checkpoints
        return 3 * steps[-1] * self.parameters.batch_size + (1 + len(steps)) * evaluation

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Teach some pictures and ask all forget facts."""
        evaluator = context.evaluator
        settings = self.parameters
        facts = self._taught(evaluator, context.seed)
        images = evaluator.images(facts, image_shape(model))
        prompts = [fact.prompt for fact in facts]

        def evaluate() -> tuple[Any, ...]:
            return evaluator.evaluate(model, ("forget",))

        lesson = followed(
            denoising_learner(model, images, prompts, settings, context.seed),
            settings.checkpoints,
            evaluate,
            before=evaluate,
            taught=denoising_error(model, images, prompts, context.seed),
        )
        found = lesson.readings
        return self.record(
            area(found),
            counted=found[settings.checkpoints[-1]],
            **recipe(settings, len(facts)),
            learning_rate=settings.rate,
            effect=lesson.effect(self.effect),
            data=settings.data,
            taught=[fact.id for fact in facts],
            **curve(found, evaluator),
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Success rate after the last step.

        K itself is a mean over the checkpoints.
        """
        last = message("after_last_step", step=self.parameters.checkpoints[-1])
        figures = super().side_figures(notes)
        return [replace(figure, remarks=(last, *figure.remarks)) for figure in figures]

    def curves(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[Curve]:
        """Learning curve of every arm, from before the training on.

        K is a mean over facts.
        """
        taught = message("pictures_taught", data=self.parameters.data)
        return learning_curves(notes, (self.parameters.trained, taught))

    def _taught(self, evaluator: "ImageEvaluator", seed: int) -> list[Fact]:
        """The facts whose pictures are taught, the same on every arm."""
        name = self.parameters.data
        facts = [fact for fact in evaluator.sets.named(name) if evaluator.has_images([fact])]
        if not facts:
            raise UnavailableError(
                f"the plan gives no pictures of {name} facts to train on (`data.images`)"
            )
        order = torch.randperm(len(facts), generator=torch.Generator().manual_seed(seed))
        return [facts[i] for i in order[: self.parameters.pictures].tolist()]
