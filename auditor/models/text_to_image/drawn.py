"""Pictures that one model drew, and their probabilities.

A classifier says how probable the concept of a fact is in its picture.
"""

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from auditor.core.facts import Fact
from auditor.models.text_to_image.classifiers import ConceptClassifier
from auditor.models.text_to_image.likeness import Likeness


class Drawn:
    """Pictures of facts, judged once.

    Args:
        facts: facts whose answers name what should be in each picture.
        images: [n, 3, height, width] in [0, 1].
        classifier: tells concepts in images.
        likeness: compares images with given pictures, where there are some.
        detector: tells some of the facts' concepts in images, where there is one.
    """

    def __init__(
        self,
        facts: Sequence[Fact],
        images: Tensor,
        classifier: ConceptClassifier,
        likeness: Likeness | None = None,
        detector: ConceptClassifier | None = None,
    ) -> None:
        self.facts = tuple(facts)
        self.images = images
        self.classifier = classifier
        self.likeness = likeness
        self.detector = detector

    @cached_property
    def probabilities(self) -> Tensor:
        """Probability of each label in each picture, [n, labels]."""
        return self.classifier.probabilities(self.images)

    @cached_property
    def own(self) -> Tensor:
        """The probability of each fact's own concept, [n]."""
        return self.classifier.own(self.probabilities, [fact.answer for fact in self.facts])

    @cached_property
    def seen(self) -> list[str]:
        """The most probable label of each picture."""
        return [self.classifier.labels[i] for i in self.probabilities.argmax(dim=1).tolist()]

    @cached_property
    def alike(self) -> list[float | None]:
        """Likeness of each picture to given ones of its fact's concept.

        None where none are given.
        """
        if self.likeness is None:
            return [None] * len(self.facts)
        return self.likeness.of(self.images, [fact.answer for fact in self.facts])

    @cached_property
    def detected(self) -> list[float | None]:
        """What the detector gives for each fact's own concept.

        None where it has no label for the concept, or there is no detector.
        """
        found: list[float | None] = [None] * len(self.facts)
        if self.detector is None:
            return found
        rows = [i for i, fact in enumerate(self.facts) if self.detector.knows(fact.answer)]
        if rows:
            concepts = [self.facts[i].answer for i in rows]
            judged = self.detector.probability(self.images[rows], concepts)
            for i, known in zip(rows, judged.tolist(), strict=True):
                found[i] = known
        return found
