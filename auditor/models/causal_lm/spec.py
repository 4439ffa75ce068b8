"""Spec of a causal language model in a plan."""

from typing import Literal

from auditor.models.language.spec import LanguageSpec


class CausalLMSpec(LanguageSpec):
    """Location of a causal language model, and how it is opened."""

    kind: Literal["causal-lm"] = "causal-lm"
    """Kind of the model."""
