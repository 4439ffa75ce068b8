"""Attacks on text-to-image models."""

from attacks.image.concept_inversion import ConceptInversion
from attacks.image.relearning import ImageRelearning

__all__ = ["ConceptInversion", "ImageRelearning"]
