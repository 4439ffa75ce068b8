"""Erasures of concepts from text-to-image models, each from its paper: UCE, RECE, ESD, MACE.

All are functions of a diffusers UNet and encoded prompts. They leave the UNet as it was and
return the changed tensors by name, for ``load_weights`` or one of ``formats``.
"""

from auditor.testbed.methods.erasure.attention_suppression import MaskedImages
from auditor.testbed.methods.erasure.closed_form_edit import second_moment
from auditor.testbed.methods.erasure.cross_attention import (
    key_value_names,
    load_weights,
    parameter_names,
)
from auditor.testbed.methods.erasure.encoded_prompts import EncodedPrompt, Erasure, encode_prompt
from auditor.testbed.methods.erasure.esd import esd
from auditor.testbed.methods.erasure.mace import MaceConcept, Prior, mace
from auditor.testbed.methods.erasure.rece import rece
from auditor.testbed.methods.erasure.uce import uce

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
