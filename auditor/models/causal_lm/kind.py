"""The kind of causal language models."""

from pathlib import Path

from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.kind import EVALUATOR, LanguageKind, encodes_apart


class CausalLMKind(LanguageKind):
    """Decoders, which read prompt and answer as one text.

    Each token is predicted from those before it.
    """

    name = "causal-lm"
    described = "causal language models"
    spec_type = CausalLMSpec
    model_class = "auditor.models.causal_lm.model:CausalLM"
    code = ("auditor.models.causal_lm.model", EVALUATOR)
    plan_template = ("auditor.models.causal_lm", "plan_template.yaml")
    positive_controls = True
    default = True

    def recognises(self, folder: Path) -> bool:
        """Whether there is a configuration, and of no encoder-decoder."""
        return encodes_apart(folder) is False

    def takes(self, network: object) -> bool:
        """Whether the network has a configuration, and of no encoder-decoder."""
        config = getattr(network, "config", None)
        return getattr(config, "is_encoder_decoder", None) is False
