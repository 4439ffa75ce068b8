"""Common base of all classifiers of images.

A classifier has labels, and gives the probability of each in an image.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from auditor.core.errors import AuditorError, MeasurementError
from auditor.models.batching import run_batched

BATCH = 64
"""Number of images judged at once, unless memory holds fewer."""

_SHOWN = 20
"""Most labels that an error message lists."""


class ConceptClassifier(ABC):
    """Says how probable it is that an image shows a concept.

    Images are [n, 3, height, width] in [0, 1], of any size. Results are float32 on the CPU.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self.folder = folder
        self.labels = tuple(labels)
        """Labels that it can tell, in the order of its outputs."""

    @abstractmethod
    def _judged(self, images: Tensor) -> Tensor:
        """Probabilities of one batch, [n, labels]."""

    @abstractmethod
    def _described(self, images: Tensor) -> Tensor:
        """Features of one batch, [n, width]."""

    def probabilities(self, images: Tensor) -> Tensor:
        """Probability of every label in every image, [n, labels].

        Raises:
            MeasurementError: an image or a probability is not finite.
        """
        return self._batched(images, self._judged, len(self.labels))

    def probability(self, images: Tensor, concepts: Sequence[str]) -> Tensor:
        """Probability of each image's own concept, [n].

        Raises:
            AuditorError: there is no label for a concept.
            MeasurementError: an image or a probability is not finite.
        """
        if len(images) != len(concepts):
            raise ValueError(f"{len(images)} images, but {len(concepts)} concepts")
        return self.own(self.probabilities(images), concepts)

    def own(self, probabilities: Tensor, concepts: Sequence[str]) -> Tensor:
        """Return the probability of each image's own concept, [n].

        They are taken from every label's probability, [n, labels].

        Raises:
            AuditorError: there is no label for a concept.
        """
        columns = torch.tensor([self.index(concept) for concept in concepts], dtype=torch.long)
        return probabilities.gather(1, columns[:, None])[:, 0]

    def features(self, images: Tensor) -> Tensor:
        """Return the classifier's features of images, [n, width].

        Raises:
            MeasurementError: an image or a feature is not finite.
        """
        return self._batched(images, self._described, 0)

    def index(self, concept: str) -> int:
        """The place of a concept among the labels.

        A label that lists several names with commas between them, as ImageNet's do, is found by
        each of them, in upper or lower case.

        Raises:
            AuditorError: no label, or more than one, is the concept's.
        """
        found = [i for i, label in enumerate(self.labels) if label == concept]
        if not found:
            name = _folded(concept)
            found = [i for i, label in enumerate(self.labels) if name in _names(label)]
        if len(found) == 1:
            return found[0]
        if found:
            labels = ", ".join(repr(self.labels[i]) for i in found)
            raise AuditorError(
                f"{concept!r} may be more than one label of the classifier in {self.folder} "
                f"({labels}). Give the concept (a fact's `answer`) as the whole label."
            )
        raise AuditorError(
            f"the classifier in {self.folder} has no label for {concept!r}; its labels are: "
            f"{self._listed(concept)}. Name the concept (a fact's `answer`) as the classifier "
            "does, or give a classifier that knows it."
        )

    def knows(self, concept: str) -> bool:
        """Whether a label is called by the concept's name."""
        return concept in self.labels

    def rename(self, concepts: Sequence[str]) -> None:
        """Call the labels of an audit's concepts as the audit does.

        Raises:
            AuditorError: no label, or more than one, is a concept's, or two concepts have one.
        """
        named: dict[int, str] = {}
        for concept in dict.fromkeys(concepts):
            other = named.setdefault(self.index(concept), concept)
            if other != concept:
                raise AuditorError(
                    f"{other!r} and {concept!r} are one label of the classifier in {self.folder}, "
                    f"{self.labels[self.index(concept)]!r}. Give both the same `answer`."
                )
        self.labels = tuple(named.get(i, label) for i, label in enumerate(self.labels))

    def _listed(self, concept: str) -> str:
        """The labels, the closest first where there are too many to list."""
        shown = self.labels
        if len(shown) > _SHOWN:
            close = difflib.get_close_matches(concept, shown, n=3, cutoff=0.5)
            shown = tuple(dict.fromkeys([*close, *shown]))[:_SHOWN]
        rest = len(set(self.labels)) - len(set(shown))
        return ", ".join(map(repr, shown)) + (f" and {rest:,} more" if rest else "")

    def _batched(self, images: Tensor, run: Callable[[Tensor], Tensor], width: int) -> Tensor:
        if not len(images):
            return torch.zeros(0, width)
        check_not_finite(images, "an image that is to be judged")

        @torch.no_grad()
        def judge(batch: list[int]) -> list[Tensor]:
            return list(run(images[batch]).to("cpu", torch.float32))

        # items of one token each: all images of a call have one size
        found = torch.stack(run_batched([1] * len(images), BATCH, judge))
        check_not_finite(found, f"what the classifier in {self.folder} says of an image")
        return found


def check_not_finite(numbers: Tensor, what: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        MeasurementError: there is one.
    """
    if not torch.isfinite(numbers).all():
        raise MeasurementError(f"{what} is not finite")


def _folded(name: str) -> str:
    return name.strip().casefold()


def _names(label: str) -> set[str]:
    return {_folded(label), *(_folded(name) for name in label.split(","))}
