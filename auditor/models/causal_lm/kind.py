"""The kind of causal language models."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.core.facts import FactSets
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.kind import Tick
from auditor.models.language.kind import LanguageKind, encodes_apart
from auditor.models.spec import ModelSpec, PromptFormat

if TYPE_CHECKING:
    from auditor.models.causal_lm.model import CausalLM
    from auditor.models.language.evaluator import TextEvaluator
    from auditor.models.manifest import Location


class CausalLMKind(LanguageKind):
    """Decoders: prompt and answer are one text, each token predicted from those before it."""

    name = "causal-lm"
    described = "causal language models"
    spec_type = CausalLMSpec
    code = ("auditor.models.causal_lm.model", "auditor.models.language.evaluator")
    plan_template = ("auditor.models.causal_lm", "plan_template.yaml")
    default = True

    def recognises(self, folder: Path) -> bool:
        """Whether there is a configuration, and of no encoder-decoder."""
        return encodes_apart(folder) is False

    def check(
        self, spec: ModelSpec, location: "Location", prompt_format: PromptFormat | None
    ) -> None:
        """Try configuration and tokenizer."""
        from auditor.models.causal_lm.model import CausalLM
        from auditor.models.language.loading import load_tokenizer, read_config

        CausalLM.check_config(read_config(self.own(spec), location.model), str(location.model))
        load_tokenizer(self.own(spec), location)

    def open(
        self,
        spec: ModelSpec,
        location: "Location",
        prompt_format: PromptFormat,
        token_budget: int,
        tick: Tick,
    ) -> "CausalLM":
        """Open a located model."""
        from auditor.models.causal_lm.model import CausalLM

        return CausalLM(self.own(spec), location, prompt_format, token_budget, tick)

    def takes(self, network: object) -> bool:
        """Whether the network has a configuration, and of no encoder-decoder."""
        config = getattr(network, "config", None)
        return getattr(config, "is_encoder_decoder", None) is False

    def wrap(
        self,
        network: Any,
        tokenizer: Any,
        prompt_format: PromptFormat,
        token_budget: int,
        name: str,
    ) -> "CausalLM":
        """Make a loaded network a model that can be measured."""
        from auditor.models.causal_lm.model import CausalLM

        return CausalLM.wrap(network, tokenizer, prompt_format, token_budget, name)

    def evaluator(
        self, sets: FactSets, metrics: Sequence[str], auxiliary: AuxiliaryInputs
    ) -> "TextEvaluator":
        """Make what asks in text."""
        from auditor.models.language.evaluator import TextEvaluator

        return TextEvaluator(sets, metrics)
