"""Regeneration of the concept from noise, without any text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue

from attacks.generation.ddim_inversion import through_noise
from attacks.generation.reconstruction import error_figure, mean_error, pixel_errors
from attacks.prompting.concepts.noise_matching import image_shape
from attacks.success_rate import ReportsSuccessRate, against_retrained, pictures_found
from auditor.attack import Attack, AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.findings import SelfCheck, SideFigure
from auditor.core.messages import message
from auditor.core.records import Record

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


class NullInversionParameters(Parameters):
    """Settings of the inversion."""

    steps: int = Field(default=50, ge=1)
    """Steps from a picture to noise; as many lead back."""
    refinements: int = Field(default=25, ge=0)
    """Number of times that the noise of a step is predicted again from where the step led."""


@attack("generation/null-inversion")
class NullInversion(
    ReportsSuccessRate, Attack[NullInversionParameters, "TextToImage", "ImageEvaluator"]
):
    """Regeneration of pictures from inverted noise, without text."""

    summary = "Take pictures of the concept to noise and back under the empty prompt."
    details = """
    The forget facts' pictures are inverted by DDIM, those of a flow by Euler's method, under the
    empty prompt: to the noise from
    which the model's own deterministic sampling, again without text, leads to the picture. An
    erasure that cuts the way from words to the concept has no part in either direction. Each
    step is refined: the noise that explains a step is that of its end, which is found by
    predicting it again and again. TINA, as far as notes on its paper tell (the paper itself was
    not read), lessens the same self-consistency error with an optimiser; a refinement that
    needs a gradient costs some three times what one costs here.

    It is reported and decides nothing. The picture itself is handed to the model, so that it
    comes back is no proof that the model holds the concept: a model that was never shown one
    may carry it through just as well. Whether it does is checked on the retrained models, and
    the attack's self-check says what came out. Those notes name no such check of TINA's.
    """
    threat_model = (
        "Someone with the weights, or an API that takes latents, and pictures of the concept."
    )
    access = "The denoiser's predictions; pictures of the forget set."
    cost = "Steps times (refinements + 2) rows through the denoiser for each forget fact."
    leak = "Pictures come back from the unlearned model that do not from a retrained one."
    source = (
        "TINA, arXiv 2603.17828, at second hand; DDIM inversion from arXiv 2010.02502 and "
        "2105.05233, flows from 2210.02747, fixed points as in arXiv 2309.04907."
    )

    kinds = ("text-to-image",)
    parameters_type = NullInversionParameters
    presets = (Preset("empty prompt", {}, "exhaustive"),)
    requires = Requirements(images=True)
    decides = False

    @property
    def variant(self) -> str:
        """Name of the text under which it is done."""
        return "empty prompt"

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of all predictions on the way to noise and back.

        A drawing has some 50 steps; there is one for each prediction of a step and one
        back.
        """
        return evaluation * (self.parameters.refinements + 2)

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Invert and regenerate the picture of every forget fact.

        Raises:
            UnavailableError: pictures are missing, or the model was trained with too few timesteps.
            MeasurementError: what comes back is not finite.
        """
        p = self.parameters
        trained = model.process.timesteps
        if 2 * p.steps > trained:
            raise UnavailableError(
                f"the model was trained with {trained} timesteps; give fewer `steps`"
            )
        facts = context.facts.forget
        given = context.evaluator.images(facts, image_shape(model))
        images, gaps = through_noise(model, given, p.steps, p.refinements)
        if not images.isfinite().all():
            raise MeasurementError("an image that was taken to noise and back is not finite")
        errors = pixel_errors(images, given)
        rows = context.evaluator.judged([("forget", fact) for fact in facts], images)
        return self.record(
            rows,
            {"errors": errors, "gaps": gaps.double().numpy()},
            error=mean_error(errors),
            gap=float(gaps.mean()),
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Success rate and reconstruction error of every arm."""
        figures = list(super().side_figures(notes))
        for arm, noted in notes.items():
            moved = message("noise_still_moved", gap=noted["gap"])
            figures.append(error_figure("reconstruction_error", arm, noted["error"], moved))
        return figures

    def self_checks(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SelfCheck]:
        """Check that inversion tells models with the concept from those without."""
        return separation(notes)


def separation(notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SelfCheck]:
    """Self-check that tells models with the concept from those without.

    It is passed where every retrained model's share is clearly below the original's.

    Clearly: the 95 % Clopper-Pearson intervals do not overlap. Nothing is checked without an
    original and a retrained model.
    """
    compared = against_retrained(notes)
    if compared is None:
        return ()
    worst, apart = compared
    found: dict[str, JsonValue] = {
        "original": pictures_found(notes[Arm.ORIGINAL]),
        "arm": worst,
        "retrained": pictures_found(notes[worst]),
    }
    return (SelfCheck("inversion_tells_original_apart", apart, found),)
