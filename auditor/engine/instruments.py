"""What an evaluator of pictures needs besides facts and metrics: a classifier, and pictures."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.data.pictures import Pictures, find_pictures
from auditor.engine.plan import AuditPlan

if TYPE_CHECKING:
    from auditor.models.text_to_image.classifiers import ConceptClassifier


class Instruments(BaseModel):
    """Hashed files that a measurement depends on, beside the model."""

    model_config = ConfigDict(frozen=True)

    classifier: Path | None = None
    """Folder of the classifier of concepts."""
    classifier_digest: str | None = None
    """Sha256 (hex) over its files."""
    pictures: Pictures | None = None

    @property
    def digests(self) -> dict[str, str]:
        """What of it decides a result, by name; empty for language models."""
        found = {}
        if self.classifier_digest is not None:
            found["classifier"] = self.classifier_digest
        if self.pictures is not None:
            found["pictures"] = self.pictures.digest
        return found


def find_instruments(plan: AuditPlan, sets: FactSets) -> Instruments:
    """Find, check and hash what a plan names beside models and facts.

    Raises:
        AuditorError: something is missing, does not open, is named for models that do not need
            it, or the classifier's labels lack a concept.
    """
    if plan.unlearned.kind == "causal-lm":
        for name, value in (
            ("metrics.classifier", plan.metrics.classifier),
            ("data.images", plan.data.images),
        ):
            if value is not None:
                raise AuditorError(f"`{name}` is for text-to-image models; leave it out.")
        return Instruments()
    if plan.metrics.classifier is None:
        raise AuditorError(
            "a text-to-image model is judged by a classifier of concepts, and the plan names none; "
            "set `metrics: {classifier: …}` to the folder or hub name of an image classifier, or "
            "of a CLIP model."
        )
    from auditor.models.text_to_image.classifiers import locate_classifier

    location = locate_classifier(plan.metrics.classifier, plan.metrics.classifier_revision)
    concepts = concepts_of(sets)
    digest = location.manifest.digest
    opened_classifier(location.model, digest, concepts)
    folder = plan.data.images
    return Instruments(
        classifier=location.model,
        classifier_digest=digest,
        pictures=find_pictures(Path(folder), sets) if folder is not None else None,
    )


def concepts_of(sets: FactSets) -> tuple[str, ...]:
    """What a classifier must be able to tell: the answers of the forget and the retain facts."""
    return tuple(sorted({fact.answer for fact in (*sets.forget, *sets.retain)}))


@lru_cache(maxsize=1)
def opened_classifier(folder: Path, digest: str, concepts: tuple[str, ...]) -> "ConceptClassifier":
    """A classifier, opened once however many jobs ask it.

    Args:
        folder: where it is.
        digest: of its files.
        concepts: that it must tell.
    """
    from auditor.models.text_to_image.classifiers import open_classifier

    return open_classifier(folder, concepts)
