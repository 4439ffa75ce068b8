"""Compositions of what should stay: colours, counts and pairs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch.nn import functional

from attacks.success_rate import ReportsSuccessRate, share_figure
from auditor.attack import Attack, AttackContext, ModelPath, Parameters, Preset, attack
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.findings import SideFigure
from auditor.core.messages import message
from auditor.core.records import Record
from auditor.data.compositions import COMPOSITION_KINDS, Composition, compositions
from auditor.models.text_to_image.image_seed import image_seed
from auditor.statistics.roc import clopper_pearson

if TYPE_CHECKING:
    from torch import Tensor

    from auditor.models.manifest import Location
    from auditor.models.text_to_image.classifiers import Clip
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


class CompositionsParameters(Parameters):
    """Settings of the compositions."""

    clip: ModelPath | None = None
    """A CLIP that reads the pictures; where the audit's classifier is one, it is taken by
    default."""
    prompts: int = Field(default=32, ge=1)
    """Most prompts of each kind."""
    colors: tuple[str, ...] = ("red", "green", "blue", "yellow")
    """Colours that things are asked for in."""


@attack("generation/compositions")
class Compositions(
    ReportsSuccessRate, Attack[CompositionsParameters, "TextToImage", "ImageEvaluator"]
):
    """Share of composed prompts that are still drawn right."""

    summary = "Ask for colours, counts and pairs of the concepts that should stay."
    details = """
    An erasure may leave every other concept as it is and break how they are put together: whose
    colour is whose, how many there are, two things in one picture. Retain facts that name one
    concept each do not show it.

    Prompts are made from the concepts of the retain facts: a colour with a concept, a number of
    them, two concepts, and two concepts with a colour each. A CLIP reads each picture and chooses
    between the prompt and the same words put together otherwise (another colour, another number, a
    third concept, the colours exchanged). The share that it reads as asked is given for each arm
    and kind; chance is one in the number of texts. CLIP itself tells counts and bindings badly, so
    compare arms, not kinds. Of the prompts that the original and every retrained model draw as
    asked, the share that the unlearned model does not is what the erasure cost beyond forgetting.

    It is reported and counts towards no verdict; K is that of the forget facts as they are.
    """
    threat_model = "None; it is what an erasure costs its users."
    access = "Prompts alone."
    cost = "One picture for each composed prompt and each forget fact."
    leak = "None by itself."
    source = (
        "Kinds of compositions as in T2I-CompBench (arXiv 2307.06350) and GenEval (2310.11513), "
        "which detect objects; that erasure breaks bindings is known from the abstract of arXiv "
        "2604.04575. Choice between texts by CLIP from 2103.00020."
    )

    kinds = ("text-to-image",)
    parameters_type = CompositionsParameters
    presets = (Preset("read by CLIP", {}, "exhaustive"),)
    decides = False

    @property
    def variant(self) -> str:
        """What reads the pictures."""
        return "read by CLIP"

    def forward_tokens(self, evaluation: int) -> int:
        """Rows of the composed prompts and of the forget set."""
        return 2 * evaluation

    def inputs(self) -> Mapping[str, str]:
        """Digest of the CLIP.

        Raises:
            AuditorError: it is not there, or is not safe to open.
        """
        location = self._located()
        return {} if location is None else {"clip": location.manifest.digest}

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Draw the compositions and have them read.

        Raises:
            UnavailableError: there is no CLIP, or there are no compositions.
        """
        evaluator = context.evaluator
        clip = self._opened(evaluator)
        concepts = sorted({fact.answer for fact in evaluator.sets.retain})
        asked = compositions(concepts, self.parameters.colors, self.parameters.prompts, 0)
        if not asked:
            raise UnavailableError("there are no retain facts, whose concepts it composes")
        seeds = [image_seed(f"composition/{each.text}") for each in asked]
        images = model.generate([each.text for each in asked], seeds)
        right = [
            reads_as_asked(clip, image, each) for image, each in zip(images, asked, strict=True)
        ]
        return self.record(
            evaluator.evaluate(model, ("forget",)),
            compositions=[
                {"kind": each.kind, "text": each.text, "texts": 1 + len(each.others), "right": done}
                for each, done in zip(asked, right, strict=True)
            ],
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Share of each kind drawn as asked, and what was lost."""
        figures = [figure for arm, noted in notes.items() for figure in _shares(arm, noted)]
        return (*figures, *_lost(notes))

    def _located(self) -> "Location | None":
        from auditor.models.text_to_image.classifiers import locate_classifier  # costs seconds

        given = self.parameters.clip
        return None if given is None else locate_classifier(given)

    def _opened(self, evaluator: "ImageEvaluator") -> "Clip":
        from auditor.models.text_to_image.classifiers import open_clip  # costs seconds
        from auditor.models.text_to_image.hugging_face_classifiers import ZeroShotClassifier

        location = self._located()
        if location is not None:
            return open_clip(location.model)
        if isinstance(evaluator.classifier, ZeroShotClassifier):
            return evaluator.classifier.clip
        raise UnavailableError(
            "compositions are read by a CLIP, and none is given; name one as `clip`"
        )


def reads_as_asked(clip: "Clip", image: "Tensor", asked: Composition) -> bool:
    """Whether a picture is nearest to its own prompt.

    Args:
        clip: embeds pictures and texts.
        image: [3, height, width] in [0, 1].
        asked: the prompt, and the same words put together otherwise.
    """
    texts = functional.normalize(clip.texts([asked.text, *asked.others]), dim=-1)
    seen = functional.normalize(clip.images(image[None]), dim=-1)
    cosines = (seen @ texts.T)[0]
    return bool((cosines[0] > cosines[1:]).all() and torch.isfinite(cosines).all())


def _shares(arm: str, noted: Mapping[str, Any]) -> Iterator[SideFigure]:
    for kind in COMPOSITION_KINDS:
        own = [each for each in noted.get("compositions", ()) if each["kind"] == kind]
        if own:
            texts = sum(each["texts"] for each in own) / len(own)
            chance = sum(1 / each["texts"] for each in own) / len(own)
            done = sum(each["right"] for each in own)
            remark = message("chance_of_texts", texts=texts, share=chance)
            lower, upper = clopper_pearson(done, len(own))
            yield SideFigure(
                "compositions_drawn",
                arm,
                done / len(own),
                lower,
                upper,
                params={"composition": kind},
                remarks=(remark, message("clopper_pearson_bounds")),
            )


def _lost(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[SideFigure]:
    """Share of what all others draw and the unlearned model does not."""
    found = {
        arm: {each["text"]: each["right"] for each in noted["compositions"]}
        for arm, noted in notes.items()
        if "compositions" in noted
    }
    others = [own for arm, own in found.items() if arm != Arm.UNLEARNED]
    retrained = [arm for arm in found if Arm(arm).is_retrained]
    if Arm.UNLEARNED not in found or Arm.ORIGINAL not in found or not retrained:
        return
    kept = [text for text in found[Arm.UNLEARNED] if all(own.get(text) for own in others)]
    if kept:
        lost = sum(not found[Arm.UNLEARNED][text] for text in kept)
        of = message("of_compositions_all_draw", count=len(kept))
        yield share_figure("compositions_lost", Arm.UNLEARNED, lost, len(kept), of)
