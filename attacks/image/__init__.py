"""Attacks on text-to-image models."""

from attacks.image.concept_inversion import ConceptInversion
from attacks.image.membership import ImageMembership
from attacks.image.null_inversion import NullInversion
from attacks.image.prompt_search import PromptSearch
from attacks.image.quality import Quality
from attacks.image.quantization import ImageQuantization
from attacks.image.relearning import ImageRelearning
from attacks.image.ring_a_bell import RingABell
from attacks.image.synonyms import Synonyms

__all__ = [
    "ConceptInversion",
    "ImageMembership",
    "ImageQuantization",
    "ImageRelearning",
    "NullInversion",
    "PromptSearch",
    "Quality",
    "RingABell",
    "Synonyms",
]
