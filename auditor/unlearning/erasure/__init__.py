"""Erasures of concepts from text-to-image models: UCE, RECE, ESD, MACE.

Each follows its paper.

All are functions of a diffusers UNet and encoded prompts. They leave the UNet as it was and
return the changed tensors by name, for ``load_weights`` or one of ``formats``.
"""

from auditor.unlearning.erasure.attention_suppression import MaskedImages
from auditor.unlearning.erasure.closed_form_edit import second_moment
from auditor.unlearning.erasure.cross_attention import (
    key_value_names,
    load_weights,
    parameter_names,
)
from auditor.unlearning.erasure.encoded_prompts import EncodedPrompt, Erasure, encode_prompt
from auditor.unlearning.erasure.esd import esd
from auditor.unlearning.erasure.mace import MaceConcept, Prior, mace
from auditor.unlearning.erasure.rece import rece
from auditor.unlearning.erasure.uce import uce

__all__ = [
    "EncodedPrompt",
    "Erasure",
    "MaceConcept",
    "MaskedImages",
    "Prior",
    "encode_prompt",
    "esd",
    "key_value_names",
    "load_weights",
    "mace",
    "parameter_names",
    "rece",
    "second_moment",
    "uce",
]
