"""Labels of quantized checkpoints, checked against what the files hold."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel
from transformers.quantizers.auto import get_hf_quantizer

from auditor.core.errors import AuditorError
from auditor.models.stored_tensors import StoredTensor

_ENDINGS = {
    "gptq": (".qweight",),
    "awq": (".qweight",),
    "bitsandbytes": (".absmax", ".SCB"),
    "compressed-tensors": (".weight_packed", ".weight_scale"),
}
"""Endings of the names that a method's files hold."""
_WORD = 32
"""Bits of a word that packed weights lie in."""
_READ = 1 << 16
"""Most words of a tensor that are read to tell its format."""


def label(config: PretrainedConfig) -> Any:
    """Return what a configuration says of quantization, or None."""
    parts = (config, config.get_text_config())
    return next(
        (q for c in parts if (q := getattr(c, "quantization_config", None)) is not None), None
    )


def check_quantizer(config: PretrainedConfig, directory: Path, device_map: Any) -> None:
    """Refuse a quantization that is not installed, or that nothing knows.

    Args:
        config: The model's configuration.
        directory: Its folder, for messages.
        device_map: Where its weights are to be put.

    Raises:
        AuditorError: Says what is missing.
    """
    try:
        quantizer, *_ = get_hf_quantizer(copy.deepcopy(config), None, device_map, True, {})
    except Exception as error:  # each method checks in its own way
        raise AuditorError(
            f"{directory}/config.json asks for a quantization that does not load here "
            f"({type(error).__name__}: {' '.join(str(error).split())[:300]}). Install what it "
            "needs, or give the model at full precision."
        ) from error
    if quantizer is None:
        raise AuditorError(
            f"{directory}/config.json has a quantization_config of a kind that transformers does "
            "not know. Take it out where the weights are not quantized, or give the model at full "
            "precision."
        )


def read_back(network: PreTrainedModel) -> None:
    """Read packed weights back, before the first answer does.

    Else the tensors of the network were others before and after it is asked. What goes into a layer
    is rounded afterwards as before.
    """
    compressor = getattr(getattr(network, "hf_quantizer", None), "compressor", None)
    if compressor is not None:
        compressor.decompress_model(network)


def check_labels(
    said: Mapping[str, Any], tensors: Mapping[str, StoredTensor], directory: Path
) -> None:
    """Refuse a ``quantization_config`` that contradicts the stored tensors.

    Args:
        said: The ``quantization_config``.
        tensors: What the files hold, by name.
        directory: The model's folder, for messages.

    Raises:
        AuditorError: Says what contradicts what.
    """
    method = said.get("quant_method")
    endings = _ENDINGS.get(str(getattr(method, "value", method)))
    if endings is None:
        return
    packed = {name: t for name, t in tensors.items() if name.endswith(endings)}
    if not packed:
        raise AuditorError(
            f"{directory}/config.json says that the weights are quantized ({method}), and no file "
            f"holds such weights (*{endings[0]}). Take quantization_config out of config.json, or "
            "give the files of the quantized model."
        )
    if method == "gptq" and not said.get("dynamic"):
        _check_sizes(said, packed, tensors, directory)
        _check_zeros(said, tensors, directory)
    if method == "awq":
        _check_columns(said, packed, tensors, directory)


def _check_sizes(
    said: Mapping[str, Any],
    packed: Mapping[str, StoredTensor],
    tensors: Mapping[str, StoredTensor],
    directory: Path,
) -> None:
    """Check bits and groups of GPTQ against the stored shapes.

    Raises:
        AuditorError: They are others than config.json says.
    """
    bits, group = said.get("bits"), said.get("group_size", -1)
    for name, tensor in packed.items():
        module = name.removesuffix(".qweight")
        places, scales = tensors.get(f"{module}.g_idx"), tensors.get(f"{module}.scales")
        if places is None or scales is None or not isinstance(bits, int) or tensor.type != "I32":
            return
        (inputs,) = places.shape
        groups = math.ceil(inputs / group) if isinstance(group, int) and group > 0 else 1
        if tensor.shape[0] * _WORD != inputs * bits or scales.shape[0] != groups:
            stored = tensor.shape[0] * _WORD / inputs, scales.shape[0], inputs
            raise _stored_otherwise(said, name, stored, directory)


def _check_columns(
    said: Mapping[str, Any],
    packed: Mapping[str, StoredTensor],
    tensors: Mapping[str, StoredTensor],
    directory: Path,
) -> None:
    """Check bits and groups of AWQ against the stored shapes.

    In its usual layout a word holds the codes of several columns, [in, out * bits / 32], and scales
    are [groups, out].

    Raises:
        AuditorError: They are others than config.json says.
    """
    bits, group = said.get("bits"), said.get("group_size", -1)
    layout = str(said.get("version") or said.get("checkpoint_format") or "gemm").lower()
    for name, tensor in packed.items() if layout == "gemm" else ():
        scales = tensors.get(f"{name.removesuffix('.qweight')}.scales")
        if scales is None or not isinstance(bits, int) or tensor.type != "I32":
            return
        inputs, outputs = tensor.shape[0], scales.shape[1]
        groups = math.ceil(inputs / group) if isinstance(group, int) and group > 0 else 1
        if tensor.shape[1] * _WORD != outputs * bits or scales.shape[0] != groups:
            stored = tensor.shape[1] * _WORD / outputs, scales.shape[0], inputs
            raise _stored_otherwise(said, name, stored, directory)


def _stored_otherwise(
    said: Mapping[str, Any], name: str, stored: tuple[float, int, int], directory: Path
) -> AuditorError:
    """Say that a label contradicts a tensor.

    Args:
        said: The label.
        name: The tensor.
        stored: Bits, groups and inputs as they are stored.
        directory: The model's folder.
    """
    bits, groups, inputs = stored
    return AuditorError(
        f"{directory}/config.json says {said.get('bits')} bits in groups of "
        f"{said.get('group_size')}, and {name} is stored otherwise ({bits:g} bits, {groups} groups "
        f"of {inputs} inputs). Take config.json from where the weights were made."
    )


def _check_zeros(
    said: Mapping[str, Any], tensors: Mapping[str, StoredTensor], directory: Path
) -> None:
    """Check the format of GPTQ against the stored zeros.

    Symmetric weights have one zero in the middle, which the first format stores less one.

    Raises:
        AuditorError: The zeros are those of the other format.
    """
    bits = said.get("bits")
    label = said.get("checkpoint_format") or said.get("format") or "gptq"
    if said.get("sym") is not True or bits not in (2, 4, 8) or label not in ("gptq", "gptq_v2"):
        return
    for name, tensor in tensors.items():
        if not name.endswith(".qzeros") or tensor.type != "I32" or not tensor.size:
            continue
        words = next(tensor.pieces(_READ)).view("uint32")
        middle = sum(1 << (bits - 1 + place) for place in range(0, _WORD, bits))
        less_one = sum(((1 << (bits - 1)) - 1) << place for place in range(0, _WORD, bits))
        wrong = middle if label == "gptq" else less_one
        if (words == wrong).all():
            other = "gptq_v2" if label == "gptq" else "gptq"
            raise AuditorError(
                f"{directory}/config.json says that the weights are in the format {label} "
                f"(checkpoint_format), and the zeros of {name} are those of {other}: every weight "
                f"would be read off by one step. Set checkpoint_format to {other}."
            )
        return
