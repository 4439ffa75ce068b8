"""Asking in other ways: other words, a given beginning, samples, searched prompts."""

from attacks.prompting.concepts.adversarial_prefix import AdversarialPrefix
from attacks.prompting.concepts.concept_inversion import ConceptInversion
from attacks.prompting.concepts.ring_a_bell import RingABell
from attacks.prompting.concepts.synonyms import Synonyms
from attacks.prompting.few_shot import FewShot
from attacks.prompting.gcg import GCG
from attacks.prompting.paraphrase import Paraphrase
from attacks.prompting.prefill import Prefill
from attacks.prompting.reframing import Reframing
from attacks.prompting.sampling import SampledAnswers
from attacks.prompting.soft_prompt import SoftPrompt
from attacks.prompting.surface import Surface

__all__ = [
    "GCG",
    "AdversarialPrefix",
    "ConceptInversion",
    "FewShot",
    "Paraphrase",
    "Prefill",
    "Reframing",
    "RingABell",
    "SampledAnswers",
    "SoftPrompt",
    "Surface",
    "Synonyms",
]
