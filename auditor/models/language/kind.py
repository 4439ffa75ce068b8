"""Common base of all kinds of models that answer in text."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.core.hashing import digest
from auditor.core.limits import SECONDS, exceeded
from auditor.core.messages import Message
from auditor.models.asked import AskedFacts
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.checkpoint_files import read_json
from auditor.models.file_differences import asked_otherwise
from auditor.models.gguf_header import read_header
from auditor.models.kind import ModelKind, Tick, Workload
from auditor.models.language.spec import LanguageSpec
from auditor.models.manifest import asking_files, described_files
from auditor.models.shape import Shape
from auditor.models.spec import TOKEN_BUDGET, TRACE_TOKENS, ModelSpec, PromptFormat

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from auditor.models.language.evaluator import TextEvaluator
    from auditor.models.language.model import LanguageModel
    from auditor.models.manifest import Location

_COUNT = re.compile(r"(layers?|experts|blocks|heads?)$")
"""Names of what a configuration counts, and a library makes one by one."""
_MOST_PARTS = 10_000
_MOST_ASKED = 32
_ASKED: dict[tuple[tuple[str | None, str, bool], FactSets], AskedFacts] = {}
"""What was turned into token ids in this process: who plans an audit runs it on the same facts."""
_SECONDS = 60
"""Seconds of processor time in which the largest network is built without memory."""

EVALUATOR = "auditor.models.language.evaluator"
"""Module that asks models of all these kinds."""


class LanguageKind(ModelKind):
    """A kind of model that answers in text."""

    model_class: ClassVar[str]
    """Subclass of `LanguageModel`, as ``package.module:Class``."""
    answers = "text"
    default_metrics = (
        "answer-probability",
        "rouge-l-recall",
        "exact-memorisation",
        "extraction-strength",
    )
    default_deciding = ("answer-recall",)
    packages = ("torch", "transformers", "tokenizers", "numpy", "peft")

    def locate(self, spec: ModelSpec) -> "Location":
        """Find the directory or file of a model, and its adapter.

        ``transformers`` must open it; the adapter may be missing.
        """
        from auditor.models.language.files import locate_checkpoint
        from auditor.models.language.tokenizer_files import with_tokenizer

        own = self.own(spec)
        location = locate_checkpoint(
            own.path,
            revision=own.revision,
            gguf_file=own.gguf_file,
            adapter=own.adapter,
            allow_pickle=own.allow_pickle,
            trust_remote_code=own.trust_remote_code,
        )
        return with_tokenizer(location, own)

    def check(
        self, spec: ModelSpec, location: "Location", prompt_format: PromptFormat | None
    ) -> None:
        """Try configuration, tokenizer and chat template.

        What a configuration or a template asks for may have no end, so each is tried within limits
        first.
        """
        from auditor.models.language.loading import load_tokenizer, read_config
        from auditor.models.language.prompting import templated

        own = self.own(spec)
        _check_counts(read_json(location.model / "config.json"), location)
        _check_endless(lambda: read_config(own, location.model), location, "configuration")
        config = read_config(own, location.model)
        self._class().check_config(config, str(location.model))
        self._check_weights(own, location, config)
        tokenizer = load_tokenizer(own, location)
        if tokenizer.chat_template:
            chat = (
                prompt_format if prompt_format and prompt_format.chat else PromptFormat(chat=True)
            )
            _check_endless(lambda: templated(tokenizer, "?", chat), location, "chat template")

    def _check_weights(
        self, spec: LanguageSpec, location: "Location", config: "PretrainedConfig"
    ) -> None:
        """Refuse weights that do not fit their network.

        The headers of their files tell.

        Code that a model brings builds a network of its own, and pickled weights have no headers;
        of these, what `transformers` reports when it loads them decides.
        """
        from auditor.models.language import placement, quantized_files
        from auditor.models.language.adapters import check_adapter
        from auditor.models.language.loading import places

        content = read_json(location.model / "config.json")
        if location.gguf is not None:
            self._check_gguf(location, location.gguf, content, config)
            return
        names = [n for n in location.manifest.files if "/" not in n and n.endswith(".safetensors")]
        if (spec.trust_remote_code and "auto_map" in content) or not names:
            return
        tensors = placement.stored([location.model / name for name in names])
        placement.check_size(content, tensors, location.model)
        chosen = placement.network_class(self._class().auto_class, config, location.model)
        quantized = quantized_files.label(config)

        def network() -> "PreTrainedModel":
            if quantized is not None:
                return placement.empty_network(chosen, config)
            return placement.placed(chosen, config, tensors, location.model)

        if quantized is not None:
            quantized_files.check_quantizer(config, location.model, places(spec))
            quantized_files.check_labels(quantized, tensors, location.model)
        if placement.is_large(content):
            _check_endless(network, location, "network", _SECONDS)
        if location.adapter is not None:
            check_adapter(network(), location.adapter)
        elif quantized is None:
            network()

    def _check_gguf(
        self,
        location: "Location",
        file: Path,
        content: Mapping[str, Any],
        config: "PretrainedConfig",
    ) -> None:
        """Refuse a GGUF file with more or fewer weights than its network."""
        from auditor.models.language import gguf_files, placement
        from auditor.models.language.adapters import check_adapter

        header = read_header(file)
        placement.check_size(content, header.tensors, file)
        chosen = placement.network_class(self._class().auto_class, config, file)

        def network() -> "PreTrainedModel":
            return placement.empty_network(chosen, config)

        if placement.is_large(content):
            _check_endless(network, location, "network", _SECONDS)
        gguf_files.check_weights(network(), header, file)
        if location.adapter is not None:
            check_adapter(network(), location.adapter)

    def differences(self, arm: str, own: "Location", original: "Location") -> tuple[Message, ...]:
        """Return warnings of files and settings that decide how it is asked."""
        return asked_otherwise(arm, own, original)

    def asking(self, spec: ModelSpec, location: "Location") -> str | None:
        """Return a digest of tokenizer, template, vocabulary and context."""
        from auditor.models.language.loading import context, read_config, vocabulary

        own = self.own(spec)
        config = read_config(own, location.model)
        files = described_files(location) | location.manifest.files
        return digest(
            {
                "files": asking_files(files),
                "elsewhere": location.tokenizer is not None,
                "type": str(config.model_type),
                "vocabulary": vocabulary(config),
                "context": context(config),
                "trusted": own.trust_remote_code,
            }
        )

    def asked_facts(
        self,
        spec: ModelSpec,
        location: "Location",
        sets: FactSets,
        prompt_format: PromptFormat,
        *,
        generates: bool,
    ) -> AskedFacts:
        """Turn the facts into token ids as scoring does."""
        from auditor.models.language.asking import asked_facts
        from auditor.models.language.prompting import templated

        how = (self.asking(spec, location), prompt_format.model_dump_json(), generates)
        if found := _ASKED.get((how, sets)):
            return found
        model = self.open(spec, location, prompt_format, TOKEN_BUDGET, lambda n: None)
        longest = max((fact.prompt for fact in sets.forget), key=len)
        if prompt_format.chat:
            _check_endless(
                lambda: templated(model.tokenizer, longest, prompt_format),
                location,
                "chat template",
            )
        if len(_ASKED) >= _MOST_ASKED:
            _ASKED.clear()
        _ASKED[how, sets] = asked_facts(model, sets, generates=generates)
        return _ASKED[how, sets]

    def prompts_as_read(
        self,
        spec: ModelSpec,
        location: "Location",
        sets: FactSets,
        prompt_format: PromptFormat,
    ) -> Mapping[str, str]:
        """Return the text of each prompt's tokens, by id of the fact."""
        from auditor.models.language.asking import prompts_as_read

        model = self.open(spec, location, prompt_format, TOKEN_BUDGET, lambda n: None)
        return prompts_as_read(model, sets)

    def other_formats(
        self, spec: ModelSpec, location: "Location", given: PromptFormat
    ) -> Sequence[PromptFormat]:
        """Return the usual formats besides the given one.

        They are chat template, question and answer, and the bare prompt.
        """
        from auditor.models.language.loading import load_tokenizer

        plain = PromptFormat(trace=given.trace)
        formats = [plain.model_copy(update={"template": "Question: {prompt}\nAnswer:"}), plain]
        if load_tokenizer(self.own(spec), location).chat_template:
            formats.insert(0, plain.model_copy(update={"chat": True}))
        return [other for other in formats if other != given]

    def open(
        self,
        spec: ModelSpec,
        location: "Location",
        prompt_format: PromptFormat,
        token_budget: int,
        tick: Tick,
    ) -> "LanguageModel":
        """Open a located model."""
        return self._class()(self.own(spec), location, prompt_format, token_budget, tick)

    def wrap(
        self,
        network: Any,
        tokenizer: Any,
        prompt_format: PromptFormat,
        token_budget: int,
        name: str,
    ) -> "LanguageModel":
        """Make a loaded network a model that can be measured."""
        return self._class().wrap(network, tokenizer, prompt_format, token_budget, name)

    def evaluator(
        self, sets: FactSets, metrics: Sequence[str], auxiliary: AuxiliaryInputs
    ) -> "TextEvaluator":
        """Make what asks in text."""
        from auditor.models.language.evaluator import TextEvaluator

        return TextEvaluator(sets, metrics)

    def workload(
        self,
        spec: ModelSpec,
        location: "Location",
        sets: FactSets,
        *,
        holdout: bool,
        generates: bool,
        chooses: bool,
    ) -> Workload:
        """Count the tokens of prompts and answers, by the model's tokenizer."""
        from auditor.models.language.loading import load_tokenizer
        from auditor.models.language.transcript import SPARE_TOKENS

        tokenizer = load_tokenizer(self.own(spec), location)
        facts = [*sets.forget, *sets.retain, *(sets.holdout if holdout else ())]
        prompts = [len(tokenizer(fact.prompt)["input_ids"]) for fact in facts]
        answers = [len(tokenizer(fact.answer)["input_ids"]) for fact in facts]
        tokens, steps = sum(prompts) + sum(answers), 0
        if generates:
            new = max(answers) + SPARE_TOKENS + (TRACE_TOKENS if location.traces else 0)
            written = sum(prompts) + len(facts) * new
            tokens += written
            steps = math.ceil(written / TOKEN_BUDGET) * new
        if chooses:
            tokens += sum(
                (prompt + answer) * len(fact.distractors)
                for fact, prompt, answer in zip(facts, prompts, answers, strict=True)
            )
        return Workload(tokens, steps=steps)

    def shape(self, spec: ModelSpec, location: "Location") -> Shape:
        """Return the sizes of the network that the configuration describes.

        Code that a model brings is not run for it; then the headers of its files tell.
        """
        own = self.own(spec)
        if own.trust_remote_code and "auto_map" in read_json(location.model / "config.json"):
            return super().shape(spec, location)
        from auditor.models.language.loading import read_config
        from auditor.models.language.shape import shape_of

        config = read_config(own, location.model)
        return shape_of(self._class().auto_class, config, location, own.dtype)

    def holds_experts(self, spec: ModelSpec, location: "Location") -> bool:
        """Return whether they do, by its configuration."""
        from auditor.models.language.placement import has_experts

        return has_experts(location.model) and self.shape(spec, location).holds_experts

    def own(self, spec: ModelSpec) -> LanguageSpec:
        """The spec, which must be one of this kind.

        Raises:
            TypeError: It is that of another kind of model.
        """
        if not isinstance(spec, LanguageSpec):
            raise TypeError(f"{type(spec).__name__} is no spec of the kind {self.name}")
        return spec

    def _class(self) -> "type[LanguageModel]":
        found: type[LanguageModel] = resolve_name(self.model_class)
        return found


def _check_counts(config: Mapping[str, Any], location: "Location") -> None:
    """Refuse a configuration that asks for more parts than any model has.

    Raises:
        AuditorError: Names the key, wherever it stands.
    """
    for name, value in config.items():
        if isinstance(value, Mapping):
            _check_counts(value, location)
        elif isinstance(value, int) and _COUNT.search(name) and value > _MOST_PARTS:
            raise AuditorError(
                f"{location.model}/config.json: {name} is {value:,}, and no model has so many."
            )


def _check_endless(
    work: Callable[[], object], location: "Location", part: str, seconds: int = SECONDS
) -> None:
    """Refuse a part that asks for more than any model's.

    Raises:
        AuditorError: It takes too much time or memory.
    """
    if limit := exceeded(work, seconds):
        raise AuditorError(
            f"the {part} of {location.model} takes more {limit} to be read than that of any real "
            "model. Take the files from where the model was published."
        )


def encodes_apart(folder: Path) -> bool | None:
    """Return whether a directory's model has its own encoder.

    None means that it holds no such model.
    """
    config = folder / "config.json"
    if not config.is_file():
        return None
    return bool(read_json(config).get("is_encoder_decoder", False))
