"""torchao: the formats that servers load, through ``TorchAoConfig`` of transformers."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn
from transformers import TorchAoConfig

from attacks.quantization.bnb import Nibbles
from attacks.quantization.code_flips import PackedCodes
from attacks.quantization.family import (
    QuantizationAttack,
    QuantizationParameters,
    Quantized,
    assert_covered,
    check_group_size,
)
from auditor.attack import Footprint, Keep, Preset, Requirements, attack
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.messages import Message, message
from auditor.models.language.layers import linear_layers
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location

Format = Literal[
    "int8", "int4", "int4-tinygemm", "int8-dynamic", "fp8", "fp8-dynamic", "nvfp4", "mxfp4"
]

_CAPABILITIES = {"int4-tinygemm": (8, 0), "fp8-dynamic": (8, 9)}
"""Format to the compute capability of the GPUs whose kernels it needs."""
_BLOCKS = {"nvfp4": 16, "mxfp4": 32}
"""Format to the inputs that share a scale, where it leaves no choice."""
_OWN_WIDTH = ("int4", "int4-tinygemm")
"""Formats with a choice of the group size."""


class TorchAOParameters(QuantizationParameters):
    """Settings of torchao."""

    format: Format = "int8"
    """int8 and fp8 (e4m3): a scale for each output. int4: a scale for each group of inputs, no zero
    point, on any device. int4-tinygemm: with zero points, for the kernel of that name (NVIDIA GPUs
    of compute capability 8.0 and more, in bfloat16). int8-dynamic and fp8-dynamic: what goes into a
    layer is rounded too, each token by its own scale (fp8-dynamic: GPUs of 8.9 and more). nvfp4:
    e2m1 in blocks of 16 with scales in fp8, the weights alone. mxfp4: e2m1 in blocks of 32 with
    powers of two as scales, weights and what goes into a layer; computed in bfloat16."""
    group_size: int = Field(default=128, ge=8)
    """Inputs that share a scale in int4. Must divide every layer's inputs."""


@attack("quantization/torchao")
class TorchAO(QuantizationAttack[TorchAOParameters]):
    """Formats of torchao."""

    summary = "Load the model in a format of 8 or 4 bits with torchao, PyTorch's own quantization."
    details = """
    Symmetric rounding to nearest, without data, to integers or to the small floats that servers
    compute with (FP8, NVFP4, MXFP4). Activations stay as they are but in the formats that are
    called dynamic, and in MXFP4, whose products torchao emulates where no kernel is. torchao takes
    `nn.Linear` layers only, so models with Conv1D layers (GPT-2) are unavailable.
    """
    threat_model = (
        "A deployer or downloader with the weights, who passes one argument when loading the model."
    )
    access = "Weights."
    cost = "Seconds, and one evaluation."
    leak = "Knowledge that is absent at full precision and present here."
    source = (
        "The library torchao; e2m1 in blocks: arXiv 2310.10537; quantization after unlearning "
        "(arXiv 2410.16454)."
    )

    parameters_type = TorchAOParameters
    presets = (
        Preset("int8", {"format": "int8"}, with_experts="quantization/rtn 8-bit"),
        Preset("int4 g128", {"format": "int4"}, with_experts="quantization/rtn 4-bit g128"),
        Preset(
            "int8-dynamic",
            {"format": "int8-dynamic"},
            "exhaustive",
            with_experts="quantization/rtn 8-bit",
        ),
        Preset("fp8", {"format": "fp8"}, "exhaustive", with_experts="quantization/rtn 8-bit"),
        Preset(
            "fp8-dynamic",
            {"format": "fp8-dynamic"},
            "exhaustive",
            with_experts="quantization/rtn 8-bit",
        ),
        Preset("nvfp4", {"format": "nvfp4"}, "exhaustive", with_experts="quantization/rtn fp4"),
        Preset("mxfp4", {"format": "mxfp4"}, "exhaustive", with_experts="quantization/rtn fp4"),
    )
    requires = Requirements(packages=("torchao",), full_precision=True)
    opens_copies = True

    @property
    def variant(self) -> str:
        """The format, and the group size where it has one."""
        name = self.parameters.format
        return f"{name} g{self.parameters.group_size}" if name in _OWN_WIDTH else name

    @property
    def footprint(self) -> Footprint:
        """Codes, a byte each where no kernel packs them, and scales."""
        name = self.parameters.format
        if name in _BLOCKS:
            return Footprint(copy=0.5 + 1 / _BLOCKS[name])
        codes = 0.5 if name == "int4-tinygemm" else 1.0
        return Footprint(copy=codes + 4 / self.parameters.group_size)

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None.

        Some formats need a newer GPU.
        """
        needed = _CAPABILITIES.get(self.parameters.format)
        if needed and (
            not torch.cuda.is_available() or torch.cuda.get_device_capability() < needed
        ):
            return message("newer_gpu_needed", capability=".".join(map(str, needed)))
        return super().unavailable(location)

    @contextlib.contextmanager
    def quantized(
        self, model: LanguageModel, scratch: Path, keep: Keep | None = None
    ) -> Iterator[Quantized]:
        """Load a copy through transformers with a ``TorchAoConfig``."""
        self._refuse(model)
        name = self.parameters.format
        chosen = configuration(name, self.parameters.group_size)
        options: dict[str, Any] = {"dtype": torch.bfloat16} if name == "mxfp4" else {}
        config = TorchAoConfig(chosen.config)
        with model.reloaded(scratch, quantization_config=config, **options) as copy:
            layers = linear_layers(copy.network)
            left = [n for n, layer in layers.items() if not chosen.has_made(layer.weight.data)]
            if left or not layers:
                raise MeasurementError(
                    f"{len(left)} of {len(layers)} layers are not quantized "
                    f"({', '.join(left[:3]) or 'there are none'}); the model was not measured"
                )
            weights: dict[str, Any] = {n: layer.weight.data for n, layer in layers.items()}
            assert_covered(copy, sum(weight.numel() for weight in weights.values()))
            readable = name != "int4-tinygemm"  # tiles of another order
            codes = self.sampled((n, _codes(w.qdata, name)) for n, w in weights.items() if readable)
            notes = {
                "format": self.variant,
                "tensor": chosen.tensor.__name__,
                "layers_quantized": len(weights),
            }
            del layers  # else they would outlive the copy
            del weights
            yield Quantized(copy, codes, notes)

    def _refuse(self, model: LanguageModel) -> None:
        """Raise Unavailable where the format does not fit the model."""
        network = model.form
        odd = [n for n, layer in linear_layers(network).items() if not isinstance(layer, nn.Linear)]
        if odd:
            raise UnavailableError(
                f"torchao quantizes nn.Linear layers only, and {len(odd)} layers of this model "
                f"are Conv1D (for example {odd[0]}); quantization/rtn takes them"
            )
        if self.parameters.format in _OWN_WIDTH:
            check_group_size(network, self.parameters.group_size)
        width = _BLOCKS.get(self.parameters.format, 1)
        if rest := [n for n, x in linear_layers(network).items() if x.in_features % width]:
            raise UnavailableError(
                f"blocks of {width} do not divide the inputs of {len(rest)} layers (for example "
                f"{rest[0]})"
            )
        if self.parameters.format != "int4-tinygemm":
            return
        if (dtype := model.network.dtype) != torch.bfloat16:
            raise UnavailableError(
                f"int4-tinygemm computes in bfloat16, and the model is opened in {dtype}; "
                "set `dtype: bfloat16` for all models, or use int4"
            )


def _codes(stored: torch.Tensor, format_: Format) -> torch.Tensor | PackedCodes:
    """Codes of a layer as integers, whatever they stand for."""
    return Nibbles(stored) if format_ in _BLOCKS else stored.view(torch.uint8)


class Configuration(NamedTuple):
    """Configuration of torchao, and what it makes."""

    config: Any
    tensor: type[Any]
    """Class of the weights."""
    rounds_activations: bool = False

    def has_made(self, weight: Any) -> bool:
        """Return whether a weight is as this configuration makes it."""
        rounds = getattr(weight, "act_quant_kwargs", None) is not None
        return isinstance(weight, self.tensor) and rounds == self.rounds_activations


def configuration(format_: Format, group_size: int = 128) -> Configuration:
    """Return torchao's configuration for a format.

    Args:
        format_: The format.
        group_size: inputs that share a scale in int4.
    """
    ao: Any = importlib.import_module("torchao.quantization")
    if format_ in ("nvfp4", "mxfp4"):
        return _of_blocks(format_)
    plain = {"set_inductor_config": False}
    if format_ == "int8":
        return Configuration(ao.Int8WeightOnlyConfig(**plain), ao.Int8Tensor)
    if format_ == "int8-dynamic":
        config = ao.Int8DynamicActivationInt8WeightConfig(granularity=ao.PerRow(), **plain)
        return Configuration(config, ao.Int8Tensor, rounds_activations=True)
    if format_ == "fp8":
        return Configuration(ao.Float8WeightOnlyConfig(**plain), ao.Float8Tensor)
    if format_ == "fp8-dynamic":
        config = ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow(), **plain)
        return Configuration(config, ao.Float8Tensor, rounds_activations=True)
    if format_ == "int4":
        config = ao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            granularity=ao.PerGroup(group_size),
        )
        return Configuration(config, ao.IntxUnpackedToInt8Tensor)
    tiles = ao.Int4WeightOnlyConfig(
        group_size=group_size, int4_packing_format="tile_packed_to_4d", **plain
    )
    return Configuration(tiles, ao.Int4TilePackedTo4dTensor)


def _of_blocks(format_: Literal["nvfp4", "mxfp4"]) -> Configuration:
    """Configuration of e2m1 in blocks; products are emulated on every device."""
    mx: Any = importlib.import_module("torchao.prototype.mx_formats")
    if format_ == "nvfp4":
        tensor = importlib.import_module("torchao.prototype.mx_formats.nvfp4_tensor").NVFP4Tensor
        return Configuration(mx.NVFP4WeightOnlyConfig(), tensor)
    kernels: Any = importlib.import_module("torchao.quantization.quantize_.common")
    config = mx.MXDynamicActivationMXWeightConfig(
        activation_dtype=torch.float4_e2m1fn_x2,
        weight_dtype=torch.float4_e2m1fn_x2,
        kernel_preference=kernels.KernelPreference.EMULATED,
    )
    tensor = importlib.import_module("torchao.prototype.mx_formats.mx_tensor").MXTensor
    return Configuration(config, tensor, rounds_activations=True)
