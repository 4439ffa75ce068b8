"""A copy of a UNet or diffusion transformer with rounded weights."""

import copy
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from attacks.quantization.bnb import nibbles
from attacks.quantization.family import check_rest
from attacks.quantization.grids import BLOCK_SIZE
from attacks.quantization.rtn import round_to_nearest
from attacks.quantization.torchao_formats import configuration
from auditor.core.errors import MeasurementError

if TYPE_CHECKING:
    from auditor.models.text_to_image.layouts import Denoiser

Format = Literal[
    "int8", "nf4", "fp4", "torchao-int8", "torchao-int4", "rtn-8", "rtn-4", "rtn-3", "rtn-2"
]
FORMATS: tuple[Format, ...] = get_args(Format)

Layers = Literal["all", "linear", "cross-attention"]

CROSS_ATTENTION = ("attn2.to_k", "attn2.to_v", "attn.add_k_proj", "attn.add_v_proj")
"""How the names of the layers end that read the prompt, of UNets and of transformers."""

_OUTLIERS = 6.0
"""Activations from this size on are multiplied in 16 bits (arXiv 2208.07339, section 3.2)."""


class Rounded(NamedTuple):
    """A denoiser with rounded weights."""

    denoiser: "Denoiser"
    codes: Mapping[str, Tensor]
    """Layer names with their integer codes."""
    weights: int
    """Number of weights that were rounded."""
    share: float
    """Share of the denoiser's weights that were rounded."""


def rounded(denoiser: "Denoiser", format_: Format, layers: Layers, group_size: int) -> Rounded:
    """Round a copy of a denoiser; itself it is left alone.

    Args:
        denoiser: at full precision.
        format_: round to nearest takes linear and convolutional layers, the others linear ones.
        layers: which of those are rounded.
        group_size: inputs that share a scale in torchao's int4.

    Raises:
        MeasurementError: no layer is rounded, or one that should be is not; measuring the copy
            would pass off full precision as quantized.
        UnavailableError: the group size leaves a rest in a layer.
    """
    result = copy.deepcopy(denoiser)
    kinds = nn.Linear | nn.Conv2d if format_.startswith("rtn") else nn.Linear
    chosen = {
        name: module
        for name, module in result.named_modules()
        if isinstance(module, kinds) and _taken(name, module, layers)
    }
    if not chosen:
        raise MeasurementError(
            f"the denoiser has no layer that {format_} rounds (`layers: {layers}`); it was not "
            "measured"
        )
    count = sum(module.weight.numel() for module in chosen.values())
    codes = _ROUNDING[format_](result, chosen, group_size)
    if codes.keys() != chosen.keys():
        raise MeasurementError(
            f"{len(chosen) - len(codes)} of {len(chosen)} layers are not rounded; the denoiser was "
            "not measured"
        )
    total = sum(parameter.numel() for parameter in denoiser.parameters())
    return Rounded(result, codes, count, count / total)


def _taken(name: str, module: nn.Module, layers: Layers) -> bool:
    if layers == "cross-attention":
        return name.endswith(CROSS_ATTENTION)
    return layers == "all" or isinstance(module, nn.Linear)


def _nearest(bits: int) -> Callable[..., dict[str, Tensor]]:
    """Round to nearest with a step for each output channel."""

    def apply(denoiser: nn.Module, chosen: Mapping[str, Any], group_size: int) -> dict[str, Tensor]:
        codes = {}
        for name, module in chosen.items():
            weight = module.weight.data
            values, codes[name] = round_to_nearest(weight.flatten(1), bits, None)
            weight.copy_(values.view_as(weight))
        return codes

    return apply


def _code_book(quant_type: str) -> Callable[..., dict[str, Tensor]]:
    """The 4 bits of bitsandbytes, turned back once.

    Its layer turns the codes back before each multiplication; on a CPU with a kernel for 4 bits
    it takes only layers whose inputs are a multiple of 64.
    """

    def apply(denoiser: nn.Module, chosen: Mapping[str, Any], group_size: int) -> dict[str, Tensor]:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        codes = {}
        for name, module in chosen.items():
            weight = module.weight.data
            packed, state = quantize_4bit(weight, blocksize=BLOCK_SIZE, quant_type=quant_type)
            weight.copy_(dequantize_4bit(packed, state))
            codes[name] = nibbles(packed).reshape(-1)[: weight.numel()]
        return codes

    return apply


def _eight_bits(
    denoiser: nn.Module, chosen: Mapping[str, Any], group_size: int
) -> dict[str, Tensor]:
    """LLM.int8() of bitsandbytes, which rounds activations too."""
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    codes = {}
    for name, module in chosen.items():
        layer = Linear8bitLt(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            has_fp16_weights=False,
            threshold=_OUTLIERS,
        )
        layer.weight = Int8Params(module.weight.data, requires_grad=False, has_fp16_weights=False)
        layer.bias = module.bias
        denoiser.set_submodule(name, layer.to(module.weight.device))
        if layer.weight.data.dtype == torch.int8:
            codes[name] = layer.weight.data.clone()
    return codes


def _torchao(format_: Literal["int8", "int4"]) -> Callable[..., dict[str, Tensor]]:
    """The integers of torchao, for weights only."""

    def apply(denoiser: nn.Module, chosen: Mapping[str, Any], group_size: int) -> dict[str, Tensor]:
        ao: Any = importlib.import_module("torchao.quantization")
        if format_ == "int4":
            check_rest(chosen, group_size)
        made = configuration(format_, group_size)
        ao.quantize_(denoiser, made.config, filter_fn=lambda module, name: name in chosen)
        weights: dict[str, Any] = {
            name: denoiser.get_submodule(name).weight.data for name in chosen
        }
        return {n: weight.qdata for n, weight in weights.items() if made.has_made(weight)}

    return apply


_ROUNDING: Mapping[Format, Callable[..., dict[str, Tensor]]] = {
    "int8": _eight_bits,
    "nf4": _code_book("nf4"),
    "fp4": _code_book("fp4"),
    "torchao-int8": _torchao("int8"),
    "torchao-int4": _torchao("int4"),
    "rtn-8": _nearest(8),
    "rtn-4": _nearest(4),
    "rtn-3": _nearest(3),
    "rtn-2": _nearest(2),
}
"""Function of each format that rounds the chosen layers of a denoiser in place and returns the
codes of each."""
