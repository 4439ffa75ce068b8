"""The kind of causal language models."""

from pathlib import Path
from typing import TYPE_CHECKING

from auditor.core.errors import AuditorError
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.kind import EVALUATOR, LanguageKind, encodes_apart
from auditor.models.spec import ModelSpec, PromptFormat

if TYPE_CHECKING:
    from auditor.models.manifest import Location


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
    trainable = True
    default = True

    def recognises(self, folder: Path) -> bool:
        """Whether there is a configuration, and of no encoder-decoder."""
        return encodes_apart(folder) is False

    def check(
        self, spec: ModelSpec, location: "Location", prompt_format: PromptFormat | None
    ) -> None:
        """Try what every language model needs, and that the architecture is causal."""
        super().check(spec, location, prompt_format)
        from auditor.models.causal_lm.behaviour import is_causal_by_design, not_causal
        from auditor.models.language.loading import read_config

        own = self.own(spec)
        if own.trust_remote_code:
            return  # its own code builds the network, which is asked when it is loaded
        config = read_config(own, location.model)
        if is_causal_by_design(self._class().auto_class, config) is False:
            raise AuditorError(not_causal(str(location.model)))

    def writes_traces(
        self, spec: ModelSpec, location: "Location", prompt_format: PromptFormat
    ) -> bool:
        """Return whether they do, by chat template and plan."""
        from auditor.models.language.loading import load_tokenizer
        from auditor.models.language.prompting import expects_trace

        return expects_trace(load_tokenizer(self.own(spec), location), prompt_format)

    def takes(self, network: object) -> bool:
        """Whether the network has a configuration, and of no encoder-decoder."""
        config = getattr(network, "config", None)
        return getattr(config, "is_encoder_decoder", None) is False
