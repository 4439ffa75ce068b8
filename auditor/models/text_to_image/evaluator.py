"""Evaluation of text-to-image models by a classifier.

The model gets the audit's prompts, and the classifier its pictures.
"""

import io
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Self

import torch
from PIL import Image
from torch import Tensor

from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.picture import SIDE
from auditor.core.records import Row
from auditor.data.pictures import Pictures
from auditor.metrics.concepts import ConceptLikeness
from auditor.metrics.metric import METRICS
from auditor.models.evaluator import Evaluator
from auditor.models.text_to_image.classifiers import ConceptClassifier
from auditor.models.text_to_image.concept_classifier import BATCH
from auditor.models.text_to_image.drawn import Drawn
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.likeness import Likeness
from auditor.models.text_to_image.oriented_gradients import oriented_gradients
from auditor.models.text_to_image.text import Text

if TYPE_CHECKING:
    from auditor.models.text_to_image.model import TextToImage


NO_PICTURES = "the plan gives no pictures of the facts (`data.images`)"


class ImageEvaluator(Evaluator["TextToImage"]):
    """Asks for pictures and has a classifier judge them.

    Prompts, seeds and classifier are the same for every arm.

    Args:
        sets: the facts; an answer is a label of the classifier. Facts whose answer is none (a
            holdout concept, say) are not drawn.
        metrics: names of metrics of pictures, the primary one first.
        classifier: tells concepts in images.
        pictures: pictures of the facts, where the plan gives some.
        judge: describes pictures, where they are compared; by default their outlines are.
        detector: tells forgotten concepts in images, where the plan names one.
    """

    def __init__(
        self,
        sets: FactSets,
        metrics: Sequence[str],
        classifier: ConceptClassifier,
        pictures: Pictures | None = None,
        judge: Callable[[Tensor], Tensor] = oriented_gradients,
        detector: ConceptClassifier | None = None,
    ) -> None:
        self.sets = sets
        self.metrics = {name: METRICS.get(name)() for name in metrics}
        self.classifier = classifier
        self.pictures = pictures
        self.judge = judge
        self.detector = detector
        self._likeness: dict[tuple[int, int], Likeness] = {}

    def evaluate(
        self,
        model: "TextToImage",
        sets: Sequence[SetName] = ("forget", "retain"),
        rewrite: Callable[[Fact], Fact] = lambda fact: fact,
        *,
        only: Collection[str] | None = None,
        embeddings: Callable[[Sequence[str]], Tensor | Text] | None = None,
    ) -> tuple[Row, ...]:
        """Draw one picture for each fact and measure K.

        The id of the fact decides the seed.

        Args:
            model: The model that draws.
            sets: which facts are asked.
            rewrite: changes what is asked (another prompt); id and answer stay.
            only: ids of the facts that are asked, by default all of ``sets``.
            embeddings: from prompts to encoded text, or to states for attention alone, instead of
                the model's own text encoder.

        Raises:
            MeasurementError: something could not be measured; nothing takes its place.
        """
        asked = [
            (name, fact)
            for name in sets
            for fact in self.sets.named(name)
            if fact.answer in self.classifier.labels and (only is None or fact.id in only)
        ]
        if not asked:
            return ()
        prompts = [rewrite(fact).prompt for _, fact in asked]
        seeds = [image_seed(fact.id) for _, fact in asked]
        given = None if embeddings is None else embeddings(prompts)
        rows = self.judged(asked, model.generate(prompts, seeds, embeddings=given))
        worded = {
            (name, fact.id): prompt
            for (name, fact), prompt in zip(asked, prompts, strict=True)
            if prompt != fact.prompt
        }
        return tuple(row._replace(prompt=worded.get((row.set, row.fact))) for row in rows)

    def with_metrics(self, metrics: Sequence[str]) -> Self:
        """The same prompts, seeds and classifier with other metrics."""
        return type(self)(
            self.sets, metrics, self.classifier, self.pictures, self.judge, self.detector
        )

    def judged(self, facts: Sequence[tuple[SetName, Fact]], images: Tensor) -> tuple[Row, ...]:
        """Measure K in pictures that were made for facts.

        Args:
            facts: each with its set.
            images: one a fact, [n, 3, height, width] in [0, 1].
        """
        shape = (int(images.shape[-2]), int(images.shape[-1]))
        likeness = self.likeness(shape) if ConceptLikeness.name in self.metrics else None
        asked = [fact for _, fact in facts]
        drawn = Drawn(asked, images, self.classifier, likeness, self.detector)
        primary = next(iter(self.metrics))
        return tuple(
            Row(
                set_name,
                fact.id,
                fact.entity,
                metric_name,
                reading.k,
                reading.answer,
                _thumbnail(image) if metric_name == primary and set_name == "forget" else None,
            )
            for metric_name, metric in self.metrics.items()
            for (set_name, fact), image, reading in zip(
                facts, images, metric.read(drawn), strict=True
            )
            if reading.k is not None
        )

    def knowledge(self, images: Tensor, concepts: Sequence[str]) -> Tensor:
        """Return the probability of each image's own concept, [n].

        It serves attacks that stop on success.
        """
        return self.classifier.probability(images, concepts)

    def likeness(self, shape: tuple[int, int]) -> Likeness:
        """Return the judge that compares drawings with the plan's pictures.

        Those of the forget and the retain facts are taken, in the size of the drawings.

        Args:
            shape: height and width.

        Raises:
            UnavailableError: the plan gives no pictures.
        """
        if shape not in self._likeness:
            facts = [f for f in (*self.sets.forget, *self.sets.retain) if self.has_images([f])]
            if not facts:
                raise UnavailableError(NO_PICTURES)
            described = [
                self.judge(self.images(facts[start : start + BATCH], shape))
                for start in range(0, len(facts), BATCH)
            ]
            self._likeness[shape] = Likeness(
                self.judge, torch.cat(described), [fact.answer for fact in facts]
            )
        return self._likeness[shape]

    def images(self, facts: Sequence[Fact], shape: tuple[int, int]) -> Tensor:
        """The plan's pictures of facts, [n, 3, height, width] in [0, 1].

        Args:
            facts: facts whose pictures are wanted.
            shape: height and width.

        Raises:
            UnavailableError: the plan gives no pictures, or not of all these facts.
        """
        if self.pictures is None:
            raise UnavailableError(NO_PICTURES)
        return self.pictures.read(facts, *shape)

    def has_images(self, facts: Sequence[Fact]) -> bool:
        """Whether the plan gives a picture of every one of these facts."""
        return self.pictures is not None and all(f.id in self.pictures.names for f in facts)


def _thumbnail(image: Tensor) -> bytes:
    """A picture [3, height, width] in [0, 1] as a small PNG."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    small = Image.fromarray(pixels)
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "PNG", optimize=True)
    return stream.getvalue()
