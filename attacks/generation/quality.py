"""Quality of the pictures that an erased model should still draw."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from attacks.generation.feature_distances import frechet_distance, kernel_distance
from attacks.generation.inception import WEIGHTS, inception_features
from attacks.success_rate import ReportsSuccessRate
from auditor.attack import (
    Attack,
    AttackContext,
    FilePath,
    ModelPath,
    Parameters,
    Preset,
    Requirements,
    attack,
)
from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.facts import Fact, SetName
from auditor.core.findings import SideFigure
from auditor.core.hashing import digest_file
from auditor.core.messages import Message, message
from auditor.core.records import Record
from auditor.models.manifest import Location
from auditor.models.text_to_image.classifiers import Clip, locate_classifier, open_clip
from auditor.models.text_to_image.hugging_face_classifiers import ZeroShotClassifier
from auditor.models.text_to_image.image_seed import image_seed

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage

_MANY = 2048
"""Pictures from which on a FID's remark no longer warns of there being few."""


class QualityParameters(Parameters):
    """Settings of the measures of quality."""

    features: Literal["classifier", "inception"] = "classifier"
    """Features in which FID and KID are measured: those of the audit's own classifier, or those of
    Inception, as in publications."""
    inception: FilePath | None = None
    """Weights of torch-fidelity's Inception (`weights-inception-2015-12-05-6726825d.pth`, or the
    same as safetensors). `features: inception` needs them."""
    clip: ModelPath | None = None
    """A CLIP for the CLIP score; where the audit's classifier is one, it is taken by default."""
    kid_subsets: int = Field(default=100, ge=1)
    """Random subsets that KID is averaged over."""
    kid_subset_size: int = Field(default=1000, ge=2)
    """Pictures in each random subset of KID; where there are fewer, all are used."""

    @model_validator(mode="after")
    def _weights_for_inception(self) -> "QualityParameters":
        if self.inception is not None and self.features != "inception":
            raise ValueError("`inception` is for `features: inception`; set both or neither")
        return self


@attack("generation/quality")
class Quality(ReportsSuccessRate, Attack[QualityParameters, "TextToImage", "ImageEvaluator"]):
    """Quality of the pictures that the model should still draw."""

    summary = "Measure how good the pictures still are that the model was to go on drawing."
    details = """
    Every forget and retain fact is drawn once from its own prompt; K is the audit's. Beside it
    stand, for each arm: the mean K of the retain facts; FID and KID between the retain facts'
    drawn pictures and those that the plan gives of them; and the CLIP score, the mean of 100
    max(cosine, 0) over pictures and their prompts, of the retain and of the forget facts. What
    could not be measured is absent, and the remark of the first figure says why.

    The classifier's features are, of this project's own network, the last feature map's mean
    over the picture; of a CLIP the embedding; of others what the last linear layer is given.
    They are divided by the root of their mean square over the given pictures, since both
    distances grow with them; Inception's are taken as they are. FID is biased upwards with few
    pictures, and both distances depend on the features: compare arms, which have equally many
    pictures and the same features, and not other people's numbers.

    It is reported and counts towards no verdict: the verdict's own test of utility is K of the
    retain facts under none/as-is.
    """
    threat_model = "None; it is what an erasure costs its users."
    access = "Prompts alone."
    cost = "One picture for each forget and each retain fact."
    leak = "None by itself. A model that draws nothing well has not forgotten one concept."
    source = (
        "FID arXiv 1706.08500, KID 1801.01401, CLIP score 2104.08718 (with the factor 100 of "
        "papers on text-to-image models in the place of 2.5). ESD (2303.07345) and MACE "
        "(2403.06135) report FID and CLIP score of erased models."
    )

    kinds = ("text-to-image",)
    parameters_type = QualityParameters
    presets = (Preset("classifier features"),)
    requires = Requirements(packages=("torchmetrics",))
    decides = False

    @property
    def variant(self) -> str:
        """Name of the features in which FID and KID are measured."""
        return f"{self.parameters.features} features"

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages of the distances, and those of Inception where it is used."""
        of_inception = ("torch_fidelity", "torchvision")
        return super().packages + (of_inception if self.parameters.features == "inception" else ())

    def inputs(self) -> Mapping[str, str]:
        """Digests of Inception's weights and of the CLIP.

        Raises:
            AuditorError: one of them is not there, or is not safe to open.
        """
        found = dict(super().inputs())
        if self.parameters.inception is not None:
            file = Path(self.parameters.inception).expanduser()
            if not file.is_file():
                raise AuditorError(
                    f"`inception`: {file} is no file; give torch-fidelity's {WEIGHTS}."
                )
            found["inception"] = digest_file(file)
        if (location := self._clip()) is not None:
            found["clip"] = location.manifest.digest
        return found

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None; Inception needs weights."""
        if self.parameters.features == "inception" and self.parameters.inception is None:
            return message("inception_weights_not_given", file=WEIGHTS)
        return super().unavailable(location)

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Draw every fact, and measure the pictures.

        Raises:
            UnavailableError: there are no retain facts.
            MeasurementError: a measure is not finite.
        """
        evaluator = context.evaluator
        forget, retain = evaluator.sets.forget, evaluator.sets.retain
        if not retain:
            raise UnavailableError("there are no retain facts, whose pictures it measures")
        facts = (*forget, *retain)
        images = model.generate([f.prompt for f in facts], [image_seed(f.id) for f in facts])
        named: list[tuple[SetName, Fact]] = [("forget", fact) for fact in forget]
        named += [("retain", fact) for fact in retain]
        rows = evaluator.judged(named, images)
        primary = next(iter(evaluator.metrics))
        kept = [row.k for row in rows if row.set == "retain" and row.metric == primary]
        notes: dict[str, Any] = {"metric": primary, "retain": len(retain), "absent": {}}
        notes["mean_k_retain"] = math.fsum(kept) / len(kept)
        try:
            notes |= self._distances(
                evaluator, images[len(forget) :], context.seed, context.scratch
            )
        except UnavailableError as reason:
            notes["absent"]["FID and KID"] = str(reason)
        clip = self._opened_clip(evaluator)
        if clip is None:
            notes["absent"]["CLIP score"] = "no CLIP is given (`clip`)"
        else:
            scores = 100 * clip.similarity(images, [f.prompt for f in facts]).double().clamp(min=0)
            notes["clip_score_retain"] = float(scores[len(forget) :].mean())
            if forget:
                notes["clip_score_forget"] = float(scores[: len(forget)].mean())
        return self.record(rows, **notes)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Quality of every arm; there is no attack that could have succeeded."""
        return tuple(figure for arm, noted in notes.items() for figure in _figures(arm, noted))

    def _distances(
        self, evaluator: "ImageEvaluator", drawn: Tensor, seed: int, scratch: Path
    ) -> dict[str, Any]:
        """FID and KID between drawn and given pictures of retain facts.

        Raises:
            UnavailableError: there are fewer than two pictures, or the classifier has no features.
        """
        retain = evaluator.sets.retain
        pictured = [i for i, fact in enumerate(retain) if evaluator.has_images([fact])]
        if len(pictured) < 2:
            raise UnavailableError(
                "the plan gives pictures of fewer than two retain facts (`data.images`)"
            )
        height, width = drawn.shape[-2:]
        given = evaluator.images([retain[i] for i in pictured], (height, width))
        real, made = (
            self._features(evaluator, images, scratch) for images in (given, drawn[pictured])
        )
        if self.parameters.features == "classifier":
            unit = real.square().mean().sqrt()
            if unit == 0:
                raise UnavailableError("the classifier's features of the given pictures are all 0")
            real, made = real / unit, made / unit
        size = min(self.parameters.kid_subset_size, len(pictured))
        return {
            "pictures_compared": len(pictured),
            "features": {"of": self.parameters.features, "width": real.shape[1]},
            "fid": frechet_distance(real, made),
            "kid": kernel_distance(real, made, self.parameters.kid_subsets, size, seed),
            "kid_subset_size": size,
        }

    def _features(self, evaluator: "ImageEvaluator", images: Tensor, scratch: Path) -> Tensor:
        if self.parameters.inception is None:
            return evaluator.classifier.features(images)
        return inception_features(images, Path(self.parameters.inception).expanduser(), scratch)

    def _clip(self) -> Location | None:
        return None if self.parameters.clip is None else locate_classifier(self.parameters.clip)

    def _opened_clip(self, evaluator: "ImageEvaluator") -> Clip | None:
        location = self._clip()
        if location is not None:
            return open_clip(location.model)
        judge = evaluator.classifier
        return judge.clip if isinstance(judge, ZeroShotClassifier) else None


def _figures(arm: str, noted: Mapping[str, Any]) -> Iterable[SideFigure]:
    if "mean_k_retain" not in noted:
        return
    yield SideFigure(
        "mean_k_retain",
        arm,
        noted["mean_k_retain"],
        remarks=(
            message("by_metric", metric=noted["metric"], facts=noted["retain"]),
            *(
                message("figure_missing", quoted=("error",), figure=name, error=why)
                for name, why in noted["absent"].items()
            ),
        ),
    )
    if "fid" in noted:
        yield SideFigure("fid", arm, noted["fid"], remarks=tuple(_limits(noted)))
        over = message(
            "kid_subsets", size=noted["kid_subset_size"], pictures=noted["pictures_compared"]
        )
        yield SideFigure("kid", arm, noted["kid"], remarks=(_compared(noted), over))
    for key in ("clip_score_retain", "clip_score_forget"):
        if key in noted:
            yield SideFigure(key, arm, noted[key], remarks=(message("clip_score_of_prompts"),))


def _compared(noted: Mapping[str, Any]) -> Message:
    features = noted["features"]
    return message(
        "pictures_compared",
        pictures=noted["pictures_compared"],
        features=features["width"],
        of=features["of"],
    )


def _limits(noted: Mapping[str, Any]) -> Iterable[Message]:
    yield _compared(noted)
    if noted["pictures_compared"] < _MANY:
        yield message("fid_biased_with_few_pictures")
    if noted["features"]["of"] != "inception":
        yield message("fid_not_comparable")
