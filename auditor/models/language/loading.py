"""Opening language models and their tokenizers as their deployers would."""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from auditor.core.errors import AuditorError
from auditor.core.faults import is_out_of_memory
from auditor.models.language.placement import check_report
from auditor.models.language.quantized_files import read_back
from auditor.models.language.spec import LanguageSpec
from auditor.models.manifest import Location

_FAULTS = (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError)
"""What libraries raise where a folder holds no tokenizer, or only a part of one."""
_SHOWN = 300
"""Most characters of a library's own message that are quoted."""
_SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways in which accelerate spreads a model over the devices that it finds."""
_ELSEWHERE = (
    "Copy the tokenizer files of the original beside the weights, or say in the plan where they "
    "are: `tokenizer:` of this model, a directory or a name on the hub (--tokenizer for all)."
)


def load_tokenizer(spec: LanguageSpec, location: Location) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a model, which lies beside it or elsewhere.

    It gets a pad token where it has none that the model knows.

    Raises:
        AuditorError: There is none, or it does not load.
    """
    folder = location.tokenizer or location.model
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    except _FAULTS as error:
        said = " ".join(str(error).split())[:_SHOWN]
        raise AuditorError(
            f"{folder} has no tokenizer that loads ({type(error).__name__}: {said}). {_ELSEWHERE}"
        ) from error
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        raise AuditorError(f"{folder} has no tokenizer, or one without words. {_ELSEWHERE}")
    return with_pad_token(tokenizer, str(folder), vocabulary(read_config(spec, location.model)))


def with_pad_token(
    tokenizer: PreTrainedTokenizerBase, name: str, rows: int | None = None
) -> PreTrainedTokenizerBase:
    """Return the tokenizer with a pad token that its model knows.

    One without is copied, and the copy pads with the end-of-sequence token, or else with any that
    the model knows: what is padded is masked.

    Args:
        tokenizer: A model's tokenizer.
        name: What messages call the model.
        rows: Tokens that the model has embeddings of; None where that is not known.

    Raises:
        AuditorError: it has neither a pad nor an end-of-sequence token; ``name`` says whose it is.
    """

    def known(token: int | None) -> bool:
        return token is not None and (rows is None or token < rows)

    if known(tokenizer.pad_token_id):
        return tokenizer
    if tokenizer.pad_token_id is None and tokenizer.eos_token is None:
        raise AuditorError(
            f"the tokenizer of {name} has no pad and no eos token, so nothing ends an answer; name "
            "them in its tokenizer_config.json (`eos_token`, `pad_token`)."
        )
    padding = copy.deepcopy(tokenizer)
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id, 0)
    padding.pad_token = padding.convert_ids_to_tokens(next(filter(known, others)))
    return padding


def vocabulary(config: PretrainedConfig) -> int | None:
    """Return how many tokens a model has embeddings of."""
    found = getattr(config.get_text_config(), "vocab_size", None)
    return found if isinstance(found, int) else None


def context(config: PretrainedConfig) -> int | None:
    """Return the most tokens of one sequence, as a configuration says.

    None means that nothing limits it.
    """
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(found) if found is not None and int(found) > 0 else None


def read_config(spec: LanguageSpec, directory: Path) -> PretrainedConfig:
    """Read a model's configuration.

    Raises:
        AuditorError: it does not load.
    """
    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:_SHOWN]
        raise AuditorError(f"{directory}/config.json does not load ({said}).") from error


def places(spec: LanguageSpec) -> Any:
    """Return where a model's weights are put, as ``transformers`` takes it."""
    return spec.device_map or {"": 0 if torch.cuda.is_available() else "cpu"}


def check_device(spec: LanguageSpec) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        AuditorError: Says what there is.
    """
    named = spec.device_map
    if named is None or named in _SPREAD:
        return
    try:
        device = torch.device(named)
    except RuntimeError as error:
        raise AuditorError(
            f"device_map {named!r} of {spec.path} is no device; give cpu, cuda:0 or auto."
        ) from error
    there = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= there:
        raise AuditorError(
            f"device_map {named!r} of {spec.path}: this machine has {there} CUDA devices; give one "
            "that is there, or cpu, or auto."
        )


def load_directory(
    auto_class: Any, spec: LanguageSpec, directory: Path, **options: Any
) -> PreTrainedModel:
    """Load a language model as its deployer would.

    Args:
        auto_class: Class of ``transformers`` that loads models of the kind.
        spec: How the model is opened.
        directory: Where its files are.
        options: Passed to ``from_pretrained``; ``dtype`` takes the place of the spec's.

    Raises:
        AuditorError: the directory holds another kind of model, or tensors that do not fit it.
    """
    check_device(spec)
    dtype = spec.dtype if spec.dtype == "auto" else getattr(torch, spec.dtype)
    try:
        model, report = auto_class.from_pretrained(
            directory,
            device_map=places(spec),
            trust_remote_code=spec.trust_remote_code,
            use_safetensors=None if spec.allow_pickle else True,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
            **{"dtype": dtype, **options},
        )
    except (OSError, ValueError, ImportError) as error:  # a quantizer that is not installed
        if is_out_of_memory(error):
            raise
        raise AuditorError(
            f"{directory} does not load as {auto_class.__name__} has it ({error})."
        ) from error
    check_report(report, directory, model.config)
    read_back(model)
    return model.eval()


def save_network(network: PreTrainedModel, folder: Path) -> None:
    """Write a network with what ends its answers.

    The rest of a checkpoint's defaults for generation decides nothing here, and may not be fit to
    be saved.

    Args:
        network: It gets these settings for good.
        folder: Where it goes.
    """
    own = network.generation_config
    network.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
    )
    network.save_pretrained(folder)
