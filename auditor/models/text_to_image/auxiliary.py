"""Classifier, judge and pictures that an evaluator of pictures needs."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.data.pictures import Pictures, find_pictures
from auditor.metrics.concepts import ConceptDetector, ConceptLikeness
from auditor.models.auxiliary import AuxiliaryInput, AuxiliaryInputs
from auditor.models.text_to_image.classifiers import (
    ConceptClassifier,
    locate_classifier,
    open_classifier,
    open_judge,
)
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.models.text_to_image.likeness import WAY_OUT
from auditor.models.text_to_image.oriented_gradients import SIDE, oriented_gradients
from auditor.models.text_to_image.spec import (
    NO_CLASSIFIER,
    ImageDataSection,
    ImageMetricSection,
)

CLASSIFIER, PICTURES, JUDGE, DETECTOR = "classifier", "pictures", "judge", "detector"


def find_auxiliary_inputs(
    metrics: ImageMetricSection, data: ImageDataSection, sets: FactSets
) -> AuxiliaryInputs:
    """Find, check and hash a plan's classifier, judge, detector and pictures.

    Raises:
        AuditorError: No classifier is named, something is missing or does not open, or the
            classifier's or the detector's labels lack a concept, or the pictures do not tell it.
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
    if metrics.judge is not None:
        judge = locate_classifier(metrics.judge, metrics.judge_revision)
        if judge.manifest.digest == digest:
            raise AuditorError(
                "`metrics.judge` is the classifier once more; name another network, so that both "
                "do not err alike, or leave it out."
            )
        found[JUDGE] = AuxiliaryInput(folder=judge.model, digest=judge.manifest.digest)
    if metrics.detector is not None:
        found[DETECTOR] = _detector(metrics, sets, digest)
    elif ConceptDetector.name in metrics.all:
        raise AuditorError(
            f"the metric {ConceptDetector.name} asks a detector, and the plan names none; give "
            "`metrics: {detector: …}`, a CLIP or an image classifier with a label for the concept."
        )
    inputs = AuxiliaryInputs(inputs=found)
    if ConceptLikeness.name in metrics.decides:
        _check_likeness(sets, metrics.all, inputs)
    return inputs


def _detector(metrics: ImageMetricSection, sets: FactSets, classifier: str) -> AuxiliaryInput:
    """Find, check and hash the detector.

    Args:
        metrics: the plan's.
        sets: the facts.
        classifier: digest of the classifier.
    """
    if ConceptDetector.name not in metrics.all:
        raise AuditorError(
            f"`metrics.detector` is read by the metric {ConceptDetector.name} alone; name that "
            "under `reported` or `deciding`, or leave the detector out."
        )
    location = locate_classifier(str(metrics.detector), metrics.detector_revision)
    digest = location.manifest.digest
    if digest == classifier:
        raise AuditorError(
            "`metrics.detector` is the classifier once more; name another network, so that both "
            "do not err alike, or leave it out."
        )
    _opened_detector(location.model, digest, forgotten(sets))
    return AuxiliaryInput(folder=location.model, digest=digest)


def _check_likeness(sets: FactSets, metrics: Sequence[str], inputs: AuxiliaryInputs) -> None:
    """Refuse pictures by which drawings cannot be judged."""
    if PICTURES not in inputs:
        raise AuditorError(
            f"the metric {ConceptLikeness.name} compares drawings with given pictures, and the "
            f"plan names none; {WAY_OUT}"
        )
    judge = image_evaluator(sets, metrics, inputs).likeness((SIDE, SIDE))
    judge.check_blind([fact.answer for fact in sets.forget])


def image_evaluator(
    sets: FactSets, metrics: Sequence[str], auxiliary: AuxiliaryInputs
) -> ImageEvaluator:
    """The evaluator with classifier, judge and pictures."""
    classifier = auxiliary[CLASSIFIER]
    pictures = None
    if PICTURES in auxiliary:
        given = auxiliary[PICTURES]
        pictures = Pictures(folder=given.folder, names=given.names, digests=given.digests)
    opened = _opened(classifier.folder, classifier.digest, concepts_of(sets))
    judge: Callable[[Tensor], Tensor] = oriented_gradients
    if JUDGE in auxiliary:
        judge = _opened_judge(auxiliary[JUDGE].folder, auxiliary[JUDGE].digest)
    detector = None
    if DETECTOR in auxiliary:
        given = auxiliary[DETECTOR]
        detector = _opened_detector(given.folder, given.digest, forgotten(sets))
    return ImageEvaluator(sets, metrics, opened, pictures, judge, detector)


def concepts_of(sets: FactSets) -> tuple[str, ...]:
    """Return the concepts that a classifier must be able to tell.

    They are the answers of the forget and the retain facts.
    """
    return tuple(sorted({fact.answer for fact in (*sets.forget, *sets.retain)}))


def forgotten(sets: FactSets) -> tuple[str, ...]:
    """Return the concepts that a detector must tell, the forget facts'."""
    return tuple(sorted({fact.answer for fact in sets.forget}))


@lru_cache(maxsize=1)
def _opened(folder: Path, digest: str, concepts: tuple[str, ...]) -> ConceptClassifier:
    """Return a classifier, opened once for all jobs that ask it.

    Its files' digest names it.
    """
    return open_classifier(folder, concepts)


@lru_cache(maxsize=1)
def _opened_judge(folder: Path, digest: str) -> Callable[[Tensor], Tensor]:
    """Return the features of a judge, opened once for all jobs."""
    return open_judge(folder)


@lru_cache(maxsize=1)
def _opened_detector(folder: Path, digest: str, concepts: tuple[str, ...]) -> ConceptClassifier:
    """Return a detector, opened once for all jobs."""
    return open_classifier(folder, concepts)
