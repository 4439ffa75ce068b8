"""Membership of pictures by how well a model denoises them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from attacks.membership.blind_pictures import blind_baseline
from attacks.membership.family import PlacementAttack, Scores
from attacks.membership.scored_texts import LEAST_HOLDOUT
from attacks.prompting.concepts.noise_matching import denoising_loss, image_shape
from auditor.attack import AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.errors import UnavailableError
from auditor.core.findings import SideFigure
from auditor.core.messages import message
from auditor.core.records import Record
from auditor.models.batching import run_batched

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage
    from auditor.models.text_to_image.text import Text


class ImageMembershipParameters(Parameters):
    """Settings of the scores of pictures."""

    score: Literal["loss", "t-error"] = "loss"
    """The denoising loss, or SecMI's error of a deterministic step and its way back."""
    text: Literal["none", "prompt"] = "none"
    """Whether the denoiser is given no text, as guidance has it, or the fact's prompt."""
    timesteps: tuple[int, ...] = Field(default=(100, 200, 300, 400), min_length=1)
    """Timesteps of training at which the loss is taken and averaged."""
    noises: int = Field(default=2, ge=1)
    """Noises at each timestep; they are the same for every picture and arm."""
    t_sec: int = Field(default=100, ge=1)
    """Timestep at which SecMI takes its error."""
    interval: int = Field(default=10, ge=1)
    """Timesteps in one step of SecMI; must divide `t_sec`."""


@attack("membership/denoising-loss")
class DenoisingLoss(
    PlacementAttack[ImageMembershipParameters, "TextToImage", "ImageEvaluator"],
):
    """Membership of pictures by their denoising error."""

    summary = "Rank the forget pictures among unseen ones by how well the model denoises them."
    details = """
    A model is better at taking noise out of pictures that it was trained on. The score `loss`
    is minus the mean squared error of the predicted noise (of a flow, of the predicted
    velocity), at fixed timesteps and with fixed
    noises, the same for every picture and every arm. The score `t-error` takes the picture a
    little way to noise, deterministically, and is minus the error of one further step and its
    way back (SecMI). Without text both ask what the denoiser knows of pictures, whatever happened
    to the words; with the facts' prompts an erasure shows as pictures that are far worse
    denoised than unseen ones.

    K = share of the holdout pictures that the picture outscores on the same arm, ties half;
    only the gap to the retrained models says anything. Pictures of the plan are pictures of the
    concept, and it need not have been trained on those very ones: then the score tells the
    concept's kind of picture, not the copy.

    Where every forget picture is denoised better than any of the holdout, a placement says no
    more; the mean errors of both sets are reported beside it, and compare across the arms.

    It is reported and decides nothing. The two sets would have to be of one kind, and a holdout
    of other concepts is not: one retrained model ranks an unseen concept among others of its
    kind otherwise than the next one does. A classifier of pixel statistics that sees no model
    is run on both sets; where it tells them apart, the self-check says so.
    """
    threat_model = "Someone with the weights, and pictures that may have been trained on."
    access = "The denoiser's predictions; pictures of the forget and of the holdout set."
    cost = (
        "Timesteps times noises rows through the denoiser for each picture; for `t-error` two more "
        "than `t_sec` / `interval`."
    )
    leak = "Forget pictures rank higher among unseen ones than they do on a retrained model."
    source = (
        "Loss from arXiv 2301.09956 and 2302.03262; SecMI from arXiv 2302.01316 (`t-error` "
        "without its classifier); how many timesteps and noises are averaged is this project's "
        "choice."
    )

    parameters_type = ImageMembershipParameters
    presets = (
        Preset("loss, without text", {"score": "loss"}),
        Preset("t-error, without text", {"score": "t-error"}, "exhaustive"),
        Preset("loss, with the prompt", {"score": "loss", "text": "prompt"}, "exhaustive"),
    )
    requires = Requirements(packages=("sklearn",), images=True)
    kinds: ClassVar[tuple[str, ...]] = ("text-to-image",)
    decides = False
    blind = "pixel_statistics"

    @property
    def variant(self) -> str:
        """The score, and the text that is given."""
        p = self.parameters
        return f"{p.score}, {'without text' if p.text == 'none' else 'with the prompt'}"

    def forward_tokens(self, evaluation: int) -> int:
        """Rows of both sets, relative to a drawing of some 50 steps."""
        p = self.parameters
        rows = len(p.timesteps) * p.noises if p.score == "loss" else p.t_sec // p.interval + 2
        return max(1, evaluation * rows // 50)

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Score every forget and holdout picture.

        Raises:
            UnavailableError: pictures or holdout facts are missing, or a timestep was never
                trained.
        """
        p, sets = self.parameters, context.facts
        if len(sets.holdout) < LEAST_HOLDOUT:
            raise UnavailableError(
                "membership is told against pictures that no model has seen; give a holdout set "
                f"(`data: holdout:`) of at least {LEAST_HOLDOUT} facts with pictures"
            )
        if p.t_sec % p.interval:
            raise UnavailableError(f"`interval` ({p.interval}) must divide `t_sec` ({p.t_sec})")
        last = max(p.timesteps) if p.score == "loss" else p.t_sec + p.interval
        trained = model.process.timesteps
        if last >= trained:
            raise UnavailableError(
                f"the model was trained with {trained} timesteps, and the score needs timestep "
                f"{last}"
            )
        facts = (*sets.forget, *sets.holdout)
        images = context.evaluator.images(facts, image_shape(model))
        prompts = [fact.prompt for fact in facts] if p.text == "prompt" else None
        if p.score == "loss":
            errors = denoising_losses(model, images, prompts, p.timesteps, p.noises)
        else:
            errors = t_errors(model, images, prompts, p.t_sec, p.interval)
        scores = -errors.double().numpy()
        count = len(sets.forget)
        notes: Mapping[str, Any] = {
            "score": p.score,
            "text": p.text,
            "errors": {"forget": summary(-scores[:count]), "holdout": summary(-scores[count:])},
            "blind": blind_baseline(images[:count], images[count:]),
        }
        parted = Scores(scores[:count], scores[count:])
        return self.record(sets.forget, sets.holdout, [parted], notes)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Figures of membership, and the errors themselves.

        The errors still compare the arms where a placement can rise no further.
        """
        figures = list(super().side_figures(notes))
        for arm, noted in notes.items():
            for name, error in noted["errors"].items():
                figures.append(
                    SideFigure(
                        "denoising_error",
                        arm,
                        error["mean"],
                        error["lower"],
                        error["upper"],
                        params={"score": noted["score"], "set": name},
                        remarks=(message("mean_over_pictures"),),
                    )
                )
        return figures


def summary(errors: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Mean of errors [n] with normal bounds at 95 %.

    A single error has no bounds.
    """
    mean = float(errors.mean())
    if len(errors) < 2:
        return {"mean": mean, "lower": None, "upper": None}
    half = 1.96 * float(errors.std(ddof=1)) / math.sqrt(len(errors))
    return {"mean": mean, "lower": max(0.0, mean - half), "upper": mean + half}


def denoising_losses(
    model: "TextToImage",
    images: Tensor,
    prompts: Sequence[str] | None,
    timesteps: Sequence[int],
    noises: int,
) -> Tensor:
    """Denoising loss of each picture, averaged over timesteps and noises, [n] float32.

    Every picture gets the same noises, drawn from a fixed seed, so that ranks do not depend on
    them. The denoising loss is that of arXiv 2006.11239, eq. 14, or of a flow, arXiv 2210.02747,
    eq. 23.

    Args:
        model: model whose loss it is.
        images: [n, 3, height, width] in [0, 1].
        prompts: one a picture; None for no text.
        timesteps: timesteps of training.
        noises: noises at each timestep.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    shape = model.input_shape
    noise = torch.randn(len(timesteps) * noises, *shape, generator=generator)
    at = torch.tensor(timesteps).repeat_interleave(noises)
    total = len(noise)
    clean, text = _clean(model, images), _text(model, prompts, len(images))

    def run(batch: list[int]) -> list[Tensor]:
        which, draw = [i // total for i in batch], [i % total for i in batch]
        with torch.inference_mode():
            losses = denoising_loss(model, clean[which], at[draw], noise[draw], text.rows(which))
        return list(losses.cpu())

    rows = [shape[1] * shape[2]] * (len(images) * total)
    losses = torch.stack(run_batched(rows, model.token_budget, run))
    return losses.view(len(images), total).mean(dim=1)


def t_errors(
    model: "TextToImage",
    images: Tensor,
    prompts: Sequence[str] | None,
    t_sec: int,
    interval: int,
) -> Tensor:
    """SecMI's t-error of each picture (arXiv 2302.01316), [n] float32.

    The picture is taken to timestep ``t_sec`` by plain DDIM inversion, of a flow by Euler's
    method, one step further and back; the error is the mean square of what that changes.

    Args:
        model: model whose predictions are used.
        images: [n, 3, height, width] in [0, 1].
        prompts: one a picture; None for no text.
        t_sec: timestep of the error.
        interval: timesteps a step.
    """
    _, height, width = model.input_shape
    process = model.process
    clean, text = _clean(model, images), _text(model, prompts, len(images))

    def run(batch: list[int]) -> list[Tensor]:
        given = text.rows(batch)
        with torch.inference_mode():

            def step(sample: Tensor, now: int, then: int) -> Tensor:
                at = torch.full((len(batch),), now, dtype=torch.long)
                seen = model.predict(sample, at, given).float()
                return process.moved(sample, seen, now, then)

            sample = clean[batch].float()
            for now in range(0, t_sec, interval):
                sample = step(sample, now, now + interval)
            back = step(step(sample, t_sec, t_sec + interval), t_sec + interval, t_sec)
            return list((back - sample).square().mean(dim=(1, 2, 3)).cpu())

    return torch.stack(run_batched([height * width] * len(images), model.token_budget, run))


def _clean(model: "TextToImage", images: Tensor) -> Tensor:
    """Targets of the denoising; every picture is encoded once."""
    _, height, width = model.input_shape

    def run(batch: list[int]) -> list[Tensor]:
        return list(model.latents(images[batch]))

    return torch.stack(run_batched([height * width] * len(images), model.token_budget, run))


def _text(model: "TextToImage", prompts: Sequence[str] | None, count: int) -> "Text":
    """Text inputs of the denoiser; every prompt is encoded once."""
    return model.empty_text().repeated(count) if prompts is None else model.text(prompts)
