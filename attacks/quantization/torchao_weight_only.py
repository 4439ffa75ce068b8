"""torchao: weight-only integers, as transformers loads them with ``TorchAoConfig``."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import TorchAoConfig

from attacks.quantization.family import (
    QuantizationAttack,
    QuantizationParameters,
    Quantized,
    assert_covered,
    check_group_size,
)
from auditor.attack import Footprint, Preset, Requirements, attack
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.messages import Message, message
from auditor.models.language.layers import linear_layers
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location

_AMPERE = (8, 0)
"""Compute capability that the tinygemm kernel needs."""


class TorchAOParameters(QuantizationParameters):
    """Settings of torchao."""

    format: Literal["int8", "int4", "int4-tinygemm"] = "int8"
    """int8: a scale for each output. int4: a scale for each group of inputs, no zero point, on
    any device. int4-tinygemm: with zero points, for the kernel of that name (NVIDIA GPUs of
    compute capability 8.0 and more, in bfloat16)."""
    group_size: int = Field(default=128, ge=8)
    """Inputs that share a scale in 4 bits. Must divide every layer's inputs."""


@attack("quantization/torchao")
class TorchAO(QuantizationAttack[TorchAOParameters]):
    """Weight-only quantization with torchao."""

    summary = "Load the model in 8 or 4 bits with torchao, PyTorch's own quantization."
    details = """
    Symmetric rounding to nearest of the weights alone, without data; activations stay as they
    are. torchao takes `nn.Linear` layers only, so models with Conv1D layers (GPT-2) are
    unavailable.
    """
    threat_model = (
        "A deployer or downloader with the weights, who passes one argument when loading the model."
    )
    access = "Weights."
    cost = "Seconds, and one evaluation."
    leak = "Knowledge that is absent at full precision and present here."
    source = (
        "The library torchao (weight-only configurations); quantization after unlearning (arXiv "
        "2410.16454)."
    )

    parameters_type = TorchAOParameters
    presets = (
        Preset("int8", {"format": "int8"}),
        Preset("int4 g128", {"format": "int4"}),
    )
    requires = Requirements(packages=("torchao",), full_precision=True)
    opens_copies = True

    @property
    def variant(self) -> str:
        """The format, and the group size where it has one."""
        name = self.parameters.format
        return name if name == "int8" else f"{name} g{self.parameters.group_size}"

    @property
    def footprint(self) -> Footprint:
        """Codes, a byte each where no kernel packs them, and scales."""
        codes = 0.5 if self.parameters.format == "int4-tinygemm" else 1.0
        return Footprint(copy=codes + 4 / self.parameters.group_size)

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None.

        Some formats need a newer GPU.
        """
        if self.parameters.format == "int4-tinygemm" and (
            not torch.cuda.is_available() or torch.cuda.get_device_capability() < _AMPERE
        ):
            return message("newer_gpu_needed", capability=".".join(map(str, _AMPERE)))
        return super().unavailable(location)

    @contextlib.contextmanager
    def quantized(self, model: LanguageModel, scratch: Path) -> Iterator[Quantized]:
        """Load a copy through transformers with a ``TorchAoConfig``."""
        self._refuse(model)
        config, tensor = weight_only(self.parameters.format, self.parameters.group_size)
        with model.reloaded(scratch, quantization_config=TorchAoConfig(config)) as copy:
            layers = linear_layers(copy.network)
            left = [n for n, layer in layers.items() if not isinstance(layer.weight.data, tensor)]
            if left or not layers:
                raise MeasurementError(
                    f"{len(left)} of {len(layers)} layers are not quantized "
                    f"({', '.join(left[:3]) or 'there are none'}); the model was not measured"
                )
            weights: dict[str, Any] = {n: layer.weight.data for n, layer in layers.items()}
            assert_covered(copy, sum(weight.numel() for weight in weights.values()))
            readable = self.parameters.format != "int4-tinygemm"  # tiles of another order
            codes = self.sampled((name, w.qdata) for name, w in weights.items() if readable)
            notes = {
                "format": self.variant,
                "tensor": tensor.__name__,
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
        if self.parameters.format != "int8":
            check_group_size(network, self.parameters.group_size)
        if self.parameters.format != "int4-tinygemm":
            return
        if (dtype := model.network.dtype) != torch.bfloat16:
            raise UnavailableError(
                f"int4-tinygemm computes in bfloat16, and the model is opened in {dtype}; "
                "set `dtype: bfloat16` for all models, or use int4"
            )


def weight_only(format_: str, group_size: int) -> tuple[Any, type[Any]]:
    """Configuration of torchao, and the class of the weights that it makes.

    Args:
        format_: ``int8``, ``int4`` or ``int4-tinygemm``.
        group_size: inputs that share a scale in 4 bits.
    """
    ao: Any = importlib.import_module("torchao.quantization")
    if format_ == "int8":
        return ao.Int8WeightOnlyConfig(set_inductor_config=False), ao.Int8Tensor
    if format_ == "int4":
        config = ao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            granularity=ao.PerGroup(group_size),
        )
        return config, ao.IntxUnpackedToInt8Tensor
    tiles = ao.Int4WeightOnlyConfig(
        group_size=group_size,
        int4_packing_format="tile_packed_to_4d",
        set_inductor_config=False,
    )
    return tiles, ao.Int4TilePackedTo4dTensor
