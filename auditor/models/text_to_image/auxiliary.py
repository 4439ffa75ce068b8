"""Classifier and pictures that an evaluator of pictures needs."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.data.pictures import Pictures, find_pictures
from auditor.models.auxiliary import AuxiliaryInput, AuxiliaryInputs
from auditor.models.text_to_image.classifiers import (
    ConceptClassifier,
    locate_classifier,
    open_classifier,
)
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.models.text_to_image.spec import (
    NO_CLASSIFIER,
    ImageDataSection,
    ImageMetricSection,
)

CLASSIFIER, PICTURES = "classifier", "pictures"


def find_auxiliary_inputs(
    metrics: ImageMetricSection, data: ImageDataSection, sets: FactSets
) -> AuxiliaryInputs:
    """Find, check and hash a plan's classifier and pictures.

    Raises:
        AuditorError: No classifier is named, something is missing or does not open, or the
            classifier's labels lack a concept.
    """
    if metrics.classifier is None:
        raise AuditorError(NO_CLASSIFIER)
    location = locate_classifier(metrics.classifier, metrics.classifier_revision)
    digest = location.manifest.digest
    _opened(location.model, digest, concepts_of(sets))
    found = {CLASSIFIER: AuxiliaryInput(folder=location.model, digest=digest)}
    if data.images is not None:
        pictures = find_pictures(Path(data.images), sets)
        found[PICTURES] = AuxiliaryInput(
            folder=pictures.folder,
            digest=pictures.digest,
            names=pictures.names,
            digests=pictures.digests,
        )
    return AuxiliaryInputs(inputs=found)


def image_evaluator(
    sets: FactSets, metrics: Sequence[str], auxiliary: AuxiliaryInputs
) -> ImageEvaluator:
    """The evaluator with the classifier and the pictures that were found."""
    classifier = auxiliary[CLASSIFIER]
    pictures = None
    if PICTURES in auxiliary:
        given = auxiliary[PICTURES]
        pictures = Pictures(folder=given.folder, names=given.names, digests=given.digests)
    opened = _opened(classifier.folder, classifier.digest, concepts_of(sets))
    return ImageEvaluator(sets, metrics, opened, pictures)


def concepts_of(sets: FactSets) -> tuple[str, ...]:
    """Return the concepts that a classifier must be able to tell.

    They are the answers of the forget and the retain facts.
    """
    return tuple(sorted({fact.answer for fact in (*sets.forget, *sets.retain)}))


@lru_cache(maxsize=1)
def _opened(folder: Path, digest: str, concepts: tuple[str, ...]) -> ConceptClassifier:
    """Return a classifier, opened once for all jobs that ask it.

    Its files' digest names it.
    """
    return open_classifier(folder, concepts)
