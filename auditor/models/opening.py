"""From a spec to a subject, by kind."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from auditor.core.errors import AuditorError
from auditor.models.causal_lm.loading import load_tokenizer, read_config
from auditor.models.causal_lm.model import TOKEN_BUDGET, CausalLM
from auditor.models.manifest import Location
from auditor.models.model import AuditedModel
from auditor.models.spec import ModelSpec, PromptFormat

CODE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        kind: (f"auditor.models.{folder}.model", f"auditor.models.{folder}.evaluator")
        for kind, folder in (("causal-lm", "causal_lm"), ("text-to-image", "text_to_image"))
    }
)
"""Kind of model to the modules that load it and put questions to it."""

PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "causal-lm": ("torch", "transformers", "tokenizers", "numpy", "peft"),
        "text-to-image": (
            *("torch", "transformers", "tokenizers", "numpy", "peft"),
            *("diffusers", "PIL"),
        ),
    }
)
"""Kind of model to the import packages whose versions decide what it answers."""


def deciding_options(spec: ModelSpec) -> dict[str, Any]:
    """Return what of a spec decides a model's answers, beside files and type of the weights."""
    return {"sampling": spec.drawing.model_dump()} if spec.kind == "text-to-image" else {}


def check_unopenable(
    spec: ModelSpec, location: Location, prompt_format: PromptFormat | None = None
) -> None:
    """Refuse, before any attack, what could not be opened later.

    Of a language model configuration and tokenizer are tried, of a text-to-image model also its
    layout, its scheduler, and whether the replacement's names and shapes fit.

    Raises:
        AuditorError: one does not load, or belongs to another kind of model; or a prompt format is
            given for a model that takes prompts as they are.
    """
    if spec.kind == "text-to-image":
        if prompt_format not in (None, PromptFormat()):
            raise AuditorError(
                "a text-to-image model gets its prompts as they are; leave `format` out of the "
                "plan and write the prompts in full."
            )
        # diffusers takes seconds to import, and language models do without it
        from auditor.models.text_to_image.checks import check_unopenable_pipeline

        check_unopenable_pipeline(spec, location)
        return
    read_config(spec, location.model)
    load_tokenizer(spec, location)


def open_model(
    spec: ModelSpec,
    location: Location,
    prompt_format: PromptFormat,
    token_budget: int = TOKEN_BUDGET,
    tick: Callable[[int], None] = lambda n: None,
) -> AuditedModel:
    """Open a located subject. Its weights are loaded when they are first needed."""
    if spec.kind == "causal-lm":
        return CausalLM(spec, location, prompt_format, token_budget, tick)
    from auditor.models.text_to_image.model import TextToImage

    return TextToImage(spec, location, token_budget, tick)
