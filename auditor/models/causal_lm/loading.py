"""Opening causal language models and their tokenizers as their deployers would."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from auditor.core.errors import AuditorError
from auditor.models.manifest import Location
from auditor.models.spec import ModelSpec


def load_tokenizer(spec: ModelSpec, location: Location) -> PreTrainedTokenizerBase:
    """Open the tokenizer beside the model; give it a pad token where it has none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            location.model, trust_remote_code=spec.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise AuditorError(f"{location.model} has no tokenizer that loads ({error}).") from error
    return with_pad_token(tokenizer, str(location.model))


def with_pad_token(tokenizer: PreTrainedTokenizerBase, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer, or a copy of it that pads with the end-of-sequence token.

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


def read_config(spec: ModelSpec, directory: Path) -> PretrainedConfig:
    """Read a model's configuration.

    Raises:
        AuditorError: it does not load, or is that of an encoder-decoder.
    """
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError) as error:
        raise AuditorError(f"{directory}/config.json does not load ({error}).") from error
    check_decoder_only(config, str(directory))
    return config


def check_decoder_only(config: PretrainedConfig, name: str) -> None:
    """Refuse an encoder-decoder.

    Raises:
        AuditorError: it is one; ``name`` says which.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise AuditorError(
            f"{name} holds an encoder-decoder ({config.model_type}); this audit takes causal "
            "language models."
        )


def load(spec: ModelSpec, location: Location) -> PreTrainedModel:
    """Load the weights, and merge the adapter where there is one.

    Raises:
        AuditorError: the model does not load, or the adapter was made for another one.
    """
    model = load_directory(spec, location.model)
    return model if location.adapter is None else _merged(model, location.adapter)


def _merged(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # only a warning in peft, but the base model would be audited in the adapter's name
            warnings.filterwarnings("error", message=".*[Mm]issing adapter keys")
            wrapped = PeftModel.from_pretrained(model, adapter)
    except (OSError, ValueError, RuntimeError, UserWarning) as error:
        raise AuditorError(
            f"the adapter {adapter} does not fit its model ({str(error)[:500]}). Give the base "
            "model that it was trained on."
        ) from error
    return wrapped.merge_and_unload().eval()


def load_directory(spec: ModelSpec, directory: Path, **options: Any) -> PreTrainedModel:
    """Load a causal language model as its deployer would.

    Raises:
        AuditorError: the directory holds another kind of model, or tensors that do not fit it.
    """
    read_config(spec, directory)
    dtype = spec.dtype if spec.dtype == "auto" else getattr(torch, spec.dtype)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            device_map=spec.device_map or {"": 0 if torch.cuda.is_available() else "cpu"},
            trust_remote_code=spec.trust_remote_code,
            use_safetensors=None if spec.allow_pickle else True,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, ImportError) as error:  # a quantizer that is not installed
        raise AuditorError(
            f"{directory} does not load as a causal language model ({error})."
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise AuditorError(
            f"{directory} lacks weights that its architecture needs ({', '.join(missing[:5])}); "
            "they would be random numbers. Check that the checkpoint is whole."
        )
    if other := sorted(name for name, *_ in report["mismatched_keys"]):
        raise AuditorError(
            f"{directory} does not load: weights have another shape than config.json says "
            f"({', '.join(other[:5])}). Check that both belong to the same model."
        )
    return model.eval()
