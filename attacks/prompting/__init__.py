"""Asking in other ways: other words, a given beginning, samples, searched prompts."""

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
    "FewShot",
    "Paraphrase",
    "Prefill",
    "Reframing",
    "SampledAnswers",
    "SoftPrompt",
    "Surface",
]
