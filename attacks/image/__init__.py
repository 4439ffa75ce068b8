"""Attacks on text-to-image models."""

from attacks.image.concept_inversion import ConceptInversion
from attacks.image.prompt_search import PromptSearch
from attacks.image.quality import Quality
from attacks.image.quantization import ImageQuantization
from attacks.image.relearning import ImageRelearning
from attacks.image.synonyms import Synonyms

__all__ = [
    "ConceptInversion",
    "ImageQuantization",
    "ImageRelearning",
    "PromptSearch",
    "Quality",
    "Synonyms",
]
