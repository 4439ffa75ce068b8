"""Attacks on text-to-image models."""

from attacks.image.concept_inversion import ConceptInversion

__all__ = ["ConceptInversion"]
