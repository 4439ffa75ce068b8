"""Opening causal language models and their tokenizers as their deployers would."""

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

from auditor.errors import AuditorError
from auditor.subjects.manifest import Location
from auditor.subjects.spec import SubjectSpec


def load_tokenizer(spec: SubjectSpec, location: Location) -> PreTrainedTokenizerBase:
    """Open the tokenizer beside the model; give it a pad token where it has none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            location.model, trust_remote_code=spec.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise AuditorError(f"{location.model} has no tokenizer that loads ({error}).") from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise AuditorError(f"the tokenizer in {location.model} has no pad and no eos token.")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def read_config(spec: SubjectSpec, directory: Path) -> PretrainedConfig:
    """Read a model's configuration.

    Raises:
        AuditorError: it does not load, or is that of an encoder-decoder.
    """
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError) as error:
        raise AuditorError(f"{directory}/config.json does not load ({error}).") from error
    if getattr(config, "is_encoder_decoder", False):
        raise AuditorError(
            f"{directory} holds an encoder-decoder ({config.model_type}); this audit takes causal "
            "language models."
        )
    return config


def load(spec: SubjectSpec, location: Location) -> PreTrainedModel:
    """Load the weights, and merge the adapter where there is one."""
    model = load_directory(spec, location.model)
    if location.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, location.adapter).merge_and_unload().eval()
    return model


def load_directory(spec: SubjectSpec, directory: Path, **options: Any) -> PreTrainedModel:
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
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError) as error:
        raise AuditorError(
            f"{directory} does not load as a causal language model ({error})."
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise AuditorError(
            f"{directory} lacks weights that its architecture needs ({', '.join(missing[:5])}); "
            "they would be random numbers. Check that the checkpoint is whole."
        )
    return model.eval()


@contextmanager
def _decoding(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Have the model decode by ``config`` alone.

    Handed to ``generate``, a configuration is filled up from the model's own wherever it says
    nothing, so that a checkpoint's repetition penalty or suppressed tokens would come back.
    """
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own
