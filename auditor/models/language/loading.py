"""Opening language models and their tokenizers as their deployers would."""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from auditor.core.errors import AuditorError
from auditor.models.language.placement import check_report
from auditor.models.language.spec import LanguageSpec
from auditor.models.manifest import Location


def load_tokenizer(spec: LanguageSpec, location: Location) -> PreTrainedTokenizerBase:
    """Open the tokenizer beside the model.

    It gets a pad token where it has none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            location.model, trust_remote_code=spec.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise AuditorError(
            f"{location.model} has no tokenizer that loads ({' '.join(str(error).split())[:200]}). "
            "Copy the files of its tokenizer (tokenizer.json, tokenizer_config.json, …) from the "
            "model that it was made from."
        ) from error
    return with_pad_token(tokenizer, str(location.model))


def with_pad_token(tokenizer: PreTrainedTokenizerBase, name: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a pad token.

    One without is copied, and the copy pads with the end-of-sequence token.

    Raises:
        AuditorError: it has neither a pad nor an end-of-sequence token; ``name`` says whose it is.
    """
    if tokenizer.pad_token_id is not None:
        return tokenizer
    if tokenizer.eos_token is None:
        raise AuditorError(f"the tokenizer of {name} has no pad and no eos token.")
    padding = copy.deepcopy(tokenizer)
    padding.pad_token = padding.eos_token
    return padding


def read_config(spec: LanguageSpec, directory: Path) -> PretrainedConfig:
    """Read a model's configuration.

    Raises:
        AuditorError: it does not load.
    """
    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError) as error:
        raise AuditorError(f"{directory}/config.json does not load ({error}).") from error


def places(spec: LanguageSpec) -> Any:
    """Return where a model's weights are put, as ``transformers`` takes it."""
    return spec.device_map or {"": 0 if torch.cuda.is_available() else "cpu"}


def load_directory(
    auto_class: Any, spec: LanguageSpec, directory: Path, **options: Any
) -> PreTrainedModel:
    """Load a language model as its deployer would.

    Args:
        auto_class: Class of ``transformers`` that loads models of the kind.
        spec: How the model is opened.
        directory: Where its files are.
        options: Passed to ``from_pretrained``.

    Raises:
        AuditorError: the directory holds another kind of model, or tensors that do not fit it.
    """
    dtype = spec.dtype if spec.dtype == "auto" else getattr(torch, spec.dtype)
    try:
        model, report = auto_class.from_pretrained(
            directory,
            dtype=dtype,
            device_map=places(spec),
            trust_remote_code=spec.trust_remote_code,
            use_safetensors=None if spec.allow_pickle else True,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, ImportError) as error:  # a quantizer that is not installed
        raise AuditorError(
            f"{directory} does not load as {auto_class.__name__} has it ({error})."
        ) from error
    check_report(report, directory, model.config)
    return model.eval()
