"""Adapters of PEFT, checked and merged into a model's weights."""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from auditor.core.errors import AuditorError
from auditor.core.faults import is_out_of_memory
from auditor.models.checkpoint_files import read_json

_SHOWN = 5
_PROBE = 16
"""Tokens of the text on which a merged model is compared."""
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Most that merging may move the mean log-probability of a token, in nats, by the weights' type."""
_OF_HALF_PRECISION = 0.5
"""The same at half precision, where the sums of a deep network are rounded at every layer."""
_SHAPES = re.compile(
    r"size mismatch for (\S+): .*?torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)", re.DOTALL
)


def check_adapter(network: PreTrainedModel, adapter: Path) -> None:
    """Refuse an adapter that cannot be merged into a network.

    Args:
        network: The base model, on the device ``meta``; it is changed.
        adapter: The adapter's folder.

    Raises:
        AuditorError: It is of a kind that no weights can hold, or belongs to another model.
    """
    _wrapped(network, adapter, _configuration(adapter))


def merged(network: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Merge an adapter into a model's weights.

    An output head that shares its weight with the embeddings gets one of its own where the adapter
    changes one of the two: without that it would change both.

    Raises:
        AuditorError: The adapter was made for another model, or the model that it is merged into
            does not answer as the model that it lies beside.
    """
    wrapped = _wrapped(network, adapter, _configuration(adapter)).eval()
    beside = _log_probabilities(wrapped, network)
    _untie(network)
    whole: PreTrainedModel = wrapped.merge_and_unload().eval()
    moved = float((_log_probabilities(whole, whole) - beside).abs().mean())
    allowed = _TOLERANCE.get(whole.dtype, _OF_HALF_PRECISION)
    if not moved <= allowed:
        raise AuditorError(
            f"merging the adapter {adapter} changes what the model answers: the log-probability of "
            f"a token moves by {moved:.2g}, where {allowed:g} is allowed. Merge it yourself at "
            "full precision, and give the merged model as `path`."
        )
    return whole


def _configuration(adapter: Path) -> PeftConfig:
    """Read an adapter's configuration.

    Raises:
        AuditorError: It is none, or that of an adapter that stays beside the weights.
    """
    file = adapter / "adapter_config.json"
    kind = read_json(file).get("peft_type")
    if kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise AuditorError(
            f"{file}: this PEFT knows no adapter of the type {kind!r} (peft_type). Merge it with "
            "the library that made it, and give the merged model as `path`."
        )
    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (TypeError, ValueError, KeyError, OSError) as error:
        raise AuditorError(
            f"{file} does not load ({type(error).__name__}: {_one_line(error)}). Update PEFT, or "
            "merge the adapter yourself, and give the merged model as `path`."
        ) from error
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise _not_mergeable(adapter, kind)
    return config


def _wrapped(network: PreTrainedModel, adapter: Path, config: PeftConfig) -> PeftModel:
    """Put an adapter beside a network's weights.

    Raises:
        AuditorError: Some of it has no place there, or has another shape.
    """
    config.inference_mode = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(meta|tie_word_embeddings|tied).*")
            wrapped = PeftModel(network, config)
            # PEFT only warns of what is missing, and says nothing of what has no place
            report = wrapped.load_adapter(
                str(adapter),
                "default",
                torch_device="cpu",
                key_mapping=getattr(network, "_checkpoint_conversion_mapping", {}),
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise _does_not_fit(adapter, _cause(error)) from error
    missing, unused = sorted(report.missing_keys), sorted(report.unexpected_keys)
    if missing or unused:
        said = f"it lacks {_names(missing)}" if missing else ""
        said += " and " if missing and unused else ""
        said += f"the model has no place for {_names(unused)}" if unused else ""
        raise _does_not_fit(adapter, said)
    layers = [m for m in wrapped.modules() if isinstance(m, BaseTunerLayer)]
    if any(type(layer).merge is BaseTunerLayer.merge for layer in layers):
        raise _not_mergeable(adapter, str(config.peft_type))
    return wrapped


def _untie(network: Any) -> None:
    """Untie the output head where an adapter changes it or the embeddings."""
    layers = [network.get_input_embeddings(), network.get_output_embeddings()]
    if not any(isinstance(layer, BaseTunerLayer) for layer in layers):
        return
    embeddings, head = (
        layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer for layer in layers
    )
    if head is None or head.weight is not embeddings.weight:
        return
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for config in {id(c): c for c in (network.config, network.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    network.all_tied_weights_keys = {}


@torch.inference_mode()
def _log_probabilities(model: Any, network: PreTrainedModel) -> Tensor:
    """Log-probabilities of some tokens, each after those before it."""
    embeddings = network.get_input_embeddings()
    count = int(network.config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(count, (1, _PROBE), generator=generator).to(embeddings.weight.device)
    decoded = {"decoder_input_ids": ids} if network.config.is_encoder_decoder else {}
    logits = model(input_ids=ids, use_cache=False, **decoded).logits[0, :-1].float()
    found: Tensor = torch.log_softmax(logits, -1).gather(-1, ids[0, 1:, None].to(logits.device))
    return found.cpu()


def _not_mergeable(adapter: Path, kind: object) -> AuditorError:
    name = str(getattr(kind, "value", kind))
    return AuditorError(
        f"the adapter {adapter} is of the type {name}, which stays beside a model and cannot be "
        "merged into its weights. An audit takes adapters that merge (LoRA and its kin), or a "
        "whole model as `path`."
    )


def _does_not_fit(adapter: Path, said: str) -> AuditorError:
    return AuditorError(
        f"the adapter {adapter} does not fit its model ({said}). Give the base model that it was "
        "trained on."
    )


def _cause(error: Exception) -> str:
    """What is wrong, on one line, out of what PEFT says."""
    found = _SHAPES.search(str(error))
    if found is None:
        return f"{type(error).__name__}: {_one_line(error)}"
    name, stored, wanted = found.groups()
    said = f"{name} has the shape {stored}, and the model's is {wanted}"
    if "embed" in name or "lm_head" in name:
        said += "; its vocabulary is another one"
    return said


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
