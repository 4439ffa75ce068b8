"""What a plan says of a causal language model."""

from typing import Literal

from auditor.models.language.spec import LanguageSpec


class CausalLMSpec(LanguageSpec):
    """Where a causal language model lies and how it is opened."""

    kind: Literal["causal-lm"] = "causal-lm"
    """Kind of the model."""
