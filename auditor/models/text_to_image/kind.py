"""The kind of text-to-image diffusion pipelines."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import JsonValue

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.checkpoint_files import read_json
from auditor.models.kind import ModelKind, PlanFlag, Planned, Tick, Workload
from auditor.models.plan_sections import DataSection
from auditor.models.spec import ModelSpec, PromptFormat
from auditor.models.text_to_image.spec import (
    INDEX,
    NO_CLASSIFIER,
    ImageDataSection,
    ImageMetricSection,
    TextToImageSpec,
)

if TYPE_CHECKING:
    from auditor.models.manifest import Location
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


class TextToImageKind(ModelKind):
    """Diffusion pipelines that draw from text, in latents or in pixels."""

    name = "text-to-image"
    described = "text-to-image models"
    answers = "image"
    spec_type = TextToImageSpec
    data_section = ImageDataSection
    metric_section = ImageMetricSection
    default_metrics = ("concept", "concept-top-1")
    default_deciding = ("concept-likeness",)
    packages = ("torch", "transformers", "tokenizers", "numpy", "peft", "diffusers", "PIL")
    code = ("auditor.models.text_to_image.model", "auditor.models.text_to_image.evaluator")
    plan_template = ("auditor.models.text_to_image", "plan_template.yaml")
    flags = (
        PlanFlag(
            "--replacement",
            "FILE",
            "the erased weights, put into the pipeline that --unlearned names.",
            "unlearned",
            "replacement",
        ),
        PlanFlag(
            "--classifier", "MODEL", "what tells concepts in pictures.", "metrics", "classifier"
        ),
        PlanFlag(
            "--images", "FOLDER", "pictures of the facts, named by their ids.", "data", "images"
        ),
    )
    refusals = MappingProxyType(
        {
            "adapter": "is for language models; give the LoRA as `replacement`",
            "trust_remote_code": "is refused: a pipeline's own code is never run; leave it out",
        }
    )
    fixed_files = (
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "spiece.model",
        # no erasure touches these, and they decide what is drawn
        "scheduler/*",
        "vae/*",
    )
    prompts_repeat = True

    def deciding(self, data: DataSection | None) -> tuple[str, ...]:
        """Return the metrics that decide beside the primary one.

        Likeness needs pictures to compare with.
        """
        pictured = isinstance(data, ImageDataSection) and data.images is not None
        return self.default_deciding if pictured else ()

    def recognises(self, folder: Path) -> bool:
        """Whether there is an index of a pipeline's components."""
        return (folder / INDEX).is_file()

    def locate(self, spec: ModelSpec) -> "Location":
        """Find a pipeline, and what replaces weights of it."""
        from auditor.models.text_to_image.files import locate_pipeline

        return locate_pipeline(own(spec))

    def check(
        self, spec: ModelSpec, location: "Location", prompt_format: PromptFormat | None
    ) -> None:
        """Try layout, scheduler, and whether the replacement's names and shapes fit."""
        from auditor.models.text_to_image.checks import check_unopenable_pipeline

        if prompt_format not in (None, PromptFormat()):
            raise AuditorError(
                "a text-to-image model gets its prompts as they are; leave `format` out of the "
                "plan and write the prompts in full."
            )
        check_unopenable_pipeline(own(spec), location)

    def open(
        self,
        spec: ModelSpec,
        location: "Location",
        prompt_format: PromptFormat,
        token_budget: int,
        tick: Tick,
    ) -> "TextToImage":
        """Open a located pipeline."""
        from auditor.models.text_to_image.model import TextToImage

        return TextToImage(own(spec), location, token_budget, tick)

    def evaluator(
        self, sets: FactSets, metrics: Sequence[str], auxiliary: AuxiliaryInputs
    ) -> "ImageEvaluator":
        """Return the evaluator, with its classifier.

        It asks for pictures, and the classifier tells what is in them.
        """
        from auditor.models.text_to_image.auxiliary import image_evaluator

        return image_evaluator(sets, metrics, auxiliary)

    def auxiliary_inputs(self, plan: Planned, sets: FactSets) -> AuxiliaryInputs:
        """Find the classifier and the pictures of the facts.

        A plan need not give pictures.
        """
        from auditor.models.text_to_image.auxiliary import find_auxiliary_inputs

        if not isinstance(plan.metrics, ImageMetricSection):
            raise TypeError(f"{type(plan.metrics).__name__} is no section of this kind of model")
        if not isinstance(plan.data, ImageDataSection):
            raise TypeError(f"{type(plan.data).__name__} is no section of this kind of model")
        return find_auxiliary_inputs(plan.metrics, plan.data, sets)

    def workload(
        self,
        spec: ModelSpec,
        location: "Location",
        sets: FactSets,
        *,
        holdout: bool,
        generates: bool,
        chooses: bool,
    ) -> Workload:
        """Count the rows that go through the denoiser.

        A holdout concept is not drawn.

        The weights of a transformer are used at every patch, of two positions along each side,
        and at most at every token of the text. The weights of a UNet slide over the positions of
        its input; most of them sit where the resolution is a fraction of that. On average each is
        used at about a ninth of the positions in Stable Diffusion 1.5 (860 M weights, some 0.4 T
        multiplications for 64 x 64 latents).
        """
        drawing = own(spec).drawing
        facts = len(sets.forget) + len(sets.retain)
        folder = self.weights_folder(location)
        config, transformer = read_json(folder / "config.json"), folder.name != "unet"
        guided = drawing.guidance > 1 and not config.get("guidance_embeds")
        copies, eraser = (2 if guided else 1), own(spec).eraser
        if eraser is not None:
            from auditor.models.text_to_image.erasers import open_eraser

            copies = 2 + len(open_eraser(eraser).texts)
        rows = facts * drawing.steps * copies
        side = config.get("sample_size") or (128 if transformer else 64)
        height, width = side if isinstance(side, list) else (side, side)
        vae = location.model / "vae" / "config.json"
        factor = 2 ** (len(read_json(vae)["block_out_channels"]) - 1) if vae.exists() else 1
        height, width = (drawing.height or height * factor), (drawing.width or width * factor)
        positions = height * width // factor**2
        if transformer:
            return Workload(rows, positions // 4 + (drawing.text_length or 512))
        return Workload(rows, max(1, positions // 9))

    def weights_folder(self, location: "Location") -> Path:
        """Return the folder of the denoiser's weights.

        It is run in every step, and all else once for each picture.
        """
        name = "unet" if "unet/config.json" in location.manifest.files else "transformer"
        return location.model / name

    def options(self, spec: ModelSpec) -> dict[str, JsonValue]:
        """Return the settings by which the model draws."""
        return {"sampling": own(spec).drawing.model_dump(mode="json")}

    def modules(self, spec: ModelSpec) -> tuple[str, ...]:
        """Return the module of the model's eraser."""
        eraser = own(spec).eraser
        if eraser is None:
            return ()
        from auditor.models.text_to_image.erasers import ERASERS

        return (ERASERS.get(eraser.name).__module__,)

    def validate(self, plan: Planned, sets: FactSets) -> tuple[str, ...]:
        """Check the classifier and pictures, and that arms draw alike."""
        from auditor.data.pictures import find_pictures

        found = []
        if isinstance(plan.data, ImageDataSection) and plan.data.images is not None:
            try:
                find_pictures(Path(plan.data.images), sets)
            except AuditorError as error:
                found.append(str(error))
        if isinstance(plan.metrics, ImageMetricSection) and plan.metrics.classifier is None:
            found.append(NO_CLASSIFIER)
        drawing = own(plan.arms["unlearned"]).drawing
        unlike = [arm for arm, spec in plan.arms.items() if own(spec).drawing != drawing]
        if unlike:
            found.append(
                f"{', '.join(unlike)} would draw in another way than the unlearned model; give all "
                "models the same `sampling`, so that only their weights differ."
            )
        erased = [arm for arm, spec in plan.arms.items() if own(spec).eraser is not None]
        if others := [arm for arm in erased if arm != "unlearned"]:
            found.append(
                f"{', '.join(others)} would draw with an eraser; `eraser` is what the unlearned "
                "model has instead of other weights, so leave it out of all others."
            )
        return tuple(found)


def own(spec: ModelSpec) -> TextToImageSpec:
    """The spec, which must be one of a text-to-image model.

    Raises:
        TypeError: It is that of another kind of model.
    """
    if not isinstance(spec, TextToImageSpec):
        raise TypeError(f"{type(spec).__name__} is no spec of a text-to-image model")
    return spec
