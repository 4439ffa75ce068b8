"""Places of stored tensors in the network that a configuration describes.

They are found on the headers of the weight files and a network without memory (torch's device
``meta``), before any weight is read.
"""

import copy
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _get_model_class
from transformers.utils import logging as transformers_logging

from auditor.core.errors import AuditorError
from auditor.models.checkpoint_files import read_json
from auditor.models.stored_tensors import StoredTensor, header

_SHOWN = 5
_WRAPPERS = {
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "module": "DataParallel or DDP",
}
"""Parts that wrappers of a training loop leave in the names of weights, and the wrapper."""
_SCALES = re.compile(
    r"(weight_scale|weight_scale_inv|input_scale|weight_shape|weight_packed|qweight|qzeros|scales"
    r"|g_idx|absmax|quant_map|quant_state\.\w+|SCB|weight_zero_point)$"
)
"""Names of what belongs to quantized weights."""
_HEADS = re.compile(r"^(model\.)?(score|classifier|classification_head|v_head|qa_outputs)\.")
"""Names of heads that answer with something else than text."""
_LAYER = re.compile(r"\.(\d+)\.")
_MOST_MODULES = 20_000
"""Most layers times experts of a network that is built at once."""
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def check_size(content: Mapping[str, Any], tensors: Mapping[str, Any], directory: Path) -> None:
    """Refuse a configuration with more layers than stored tensors.

    Args:
        content: The content of ``config.json``.
        tensors: What the files hold, by name.
        directory: The model's folder, for messages.

    Raises:
        AuditorError: Names both numbers.
    """
    layers = _largest(content, _LAYERS)
    if layers > len(tensors):
        raise AuditorError(
            f"{directory}/config.json counts {layers:,} layers, and the files hold "
            f"{len(tensors):,} tensors. Take config.json and weights from the same model."
        )


def is_large(content: Mapping[str, Any]) -> bool:
    """Return whether a network must be tried within limits first.

    Args:
        content: The content of ``config.json``.
    """
    return _largest(content, _LAYERS) * _largest(content, _EXPERTS) > _MOST_MODULES


def has_experts(directory: Path) -> bool:
    """Return whether a configuration counts experts, among which a network chooses."""
    return _largest(read_json(directory / "config.json"), _EXPERTS) > 1


def _largest(content: Mapping[str, Any], keys: Sequence[str]) -> int:
    """Largest of some numbers of a configuration and of those within it."""
    nested = [_largest(value, keys) for value in content.values() if isinstance(value, Mapping)]
    own = [n for key in keys if isinstance(n := content.get(key), int)]
    return max([1, *own, *nested])


def stored(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """Return the tensors of the safetensors files of one checkpoint, by name."""
    return {name: tensor for file in files for name, tensor in header(file).items()}


def placed(
    model_class: Any,
    config: PretrainedConfig,
    tensors: Mapping[str, StoredTensor],
    directory: Path,
) -> PreTrainedModel:
    """Place stored tensors in a network without memory, as loading them would.

    Args:
        model_class: Class of the network.
        config: Its configuration, of weights that are not quantized.
        tensors: What the files hold, by name.
        directory: The model's folder, for messages.

    Returns:
        The network, on the device ``meta``.

    Raises:
        AuditorError: A tensor has no place, or more than one has the same, or a place has no
            tensor, or one of another shape; said as `check_report` does.
    """
    _check_whole_numbers(tensors, directory)
    _check_same_place(tensors, model_class.base_model_prefix, directory)
    empty = {name: torch.empty(t.shape, device="meta") for name, t in tensors.items()}
    with _quiet():
        network, report = model_class.from_pretrained(
            None,
            config=unquantized(model_class, config),
            state_dict=empty,
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,  # reported by name
            output_loading_info=True,
        )
    check_report(report, directory, config)
    found: PreTrainedModel = network.eval()
    return found


def network_class(auto_class: Any, config: PretrainedConfig, name: Path | str) -> Any:
    """Return the class of the network of a configuration.

    Args:
        auto_class: Class of ``transformers`` that loads models of the kind.
        config: The configuration.
        name: What messages call the model.

    Raises:
        AuditorError: ``transformers`` has none of the kind.
    """
    if type(config) not in auto_class._model_mapping:
        raise AuditorError(
            f"{name} holds a model of the type {config.model_type}, which transformers does "
            f"not open as {auto_class.__name__}. Give a language model that it opens so; of a "
            "model of several modalities, its language part saved by itself."
        )
    return _get_model_class(config, auto_class._model_mapping)


def empty_network(model_class: Any, config: PretrainedConfig) -> PreTrainedModel:
    """Return a network of full precision without memory, on the device ``meta``."""
    plain = unquantized(model_class, config)
    with _quiet(), torch.device("meta"):
        found: PreTrainedModel = model_class._from_config(plain).eval()
    return found


def unquantized(model_class: Any, config: PretrainedConfig) -> PretrainedConfig:
    """Return the configuration of a class of networks, without quantization."""
    plain = copy.deepcopy(config)
    text = plain.sub_configs.get("text_config")
    if text is not None and model_class.config_class == text:
        plain = plain.get_text_config()
    for part in (plain, plain.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    return plain


def check_report(
    report: Mapping[str, Collection[Any]], directory: Path, config: PretrainedConfig
) -> None:
    """Refuse a model whose files and network do not match.

    Args:
        report: What ``transformers`` says of loading it.
        directory: Its folder.
        config: Its configuration.

    Raises:
        AuditorError: A weight has no place, or a place no weight, or one of another shape.
    """
    missing, unused = (sorted(report[f"{of}_keys"]) for of in ("missing", "unexpected"))
    other = sorted(name for name, *_ in report["mismatched_keys"])
    if wrapped := _wrapper(unused):
        raise AuditorError(
            f"{directory}: the names of its weights carry `{wrapped}.` ({_WRAPPERS[wrapped]}), as "
            f"in {unused[0]}, so none has a place. Save the model that is wrapped, or take "
            f"`{wrapped}.` out of the names."
        )
    if missing:
        raise AuditorError(
            f"{directory} lacks weights that its architecture needs ({_names(missing)}); "
            "they would be random numbers. Check that the checkpoint is whole."
        )
    if other:
        raise AuditorError(
            f"{directory} does not load: weights have another shape than config.json says "
            f"({_names(other)}). Check that both belong to the same model."
        )
    if unused:
        raise AuditorError(
            f"{directory} holds weights that its architecture does not use "
            f"({_names(unused)}): they would be certified without having been asked. "
            f"{_way_out(unused, config)}"
        )


def _way_out(unused: Sequence[str], config: PretrainedConfig) -> str:
    """What to do about weights that have no place."""
    if any(_SCALES.search(name) for name in unused):
        return (
            "They are scales of quantized weights, and config.json has no quantization_config that "
            "uses them. Put that back, or save the model at full precision."
        )
    if any(_HEADS.search(name) for name in unused):
        return (
            "They are a head that does not answer in text. Give the language model that it was "
            "made from, or remove the head."
        )
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    highest = max((int(n) for name in unused for n in _LAYER.findall(name)), default=-1)
    if isinstance(layers, int) and highest >= layers:
        return (
            f"They are of layer {highest}, and config.json counts {layers} from 0 on "
            "(num_hidden_layers). Take config.json and weights from the same model."
        )
    return "Remove them, or name the architecture that uses them in config.json."


def _wrapper(names: Sequence[str]) -> str | None:
    """Return the part of a wrapper that all names carry."""
    for part in _WRAPPERS:
        if names and all(part in name.split(".")[:-1] for name in names):
            return part
    return None


def _check_whole_numbers(tensors: Mapping[str, StoredTensor], directory: Path) -> None:
    """Refuse quantized weights that nothing says how to read.

    Raises:
        AuditorError: Names some.
    """
    whole = sorted(
        name
        for name, tensor in tensors.items()
        if tensor.type.startswith(("I", "U")) and name.endswith("weight") and len(tensor.shape) > 1
    )
    if whole:
        raise AuditorError(
            f"{directory}: weights are stored as whole numbers ({_names(whole)}), and config.json "
            "has no quantization_config that says what they stand for. Put that back, or save the "
            "model at full precision."
        )


def _check_same_place(
    tensors: Mapping[str, StoredTensor], base_model_prefix: str, directory: Path
) -> None:
    """Refuse two tensors for one place of the network.

    Raises:
        AuditorError: Names both.
    """
    places: dict[str, str] = {}
    counts = Counter[str]()
    for name in tensors:
        place = name.removeprefix(f"{base_model_prefix}.") if base_model_prefix else name
        place = re.sub(r"(?<=Norm\.)gamma$", "weight", place)
        place = re.sub(r"(?<=Norm\.)beta$", "bias", place)
        counts[place] += 1
        if counts[place] > 1:
            raise AuditorError(
                f"{directory}: {places[place]} and {name} are for the same place of the network, "
                "so only one of them would be used. Remove the one that is not the model's."
            )
        places[place] = name


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep reports and bars of ``transformers`` from the screen."""
    level, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
