"""Rescaling of a model: the same function in other weights.

Gains, queries and keys, values and outputs, and gated channels are rescaled.

Whoever hides knowledge can rescale a model afterwards, so that what trains at one rate for all
weights trains it less. Factors are powers of two, which round nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from auditor.models.language.layers import Linear, is_transposed

FACTOR = 8.0
"""By which weights grow or shrink; gains shrink by its square. Larger ones leave the range in which
int8 kernels compute (float16)."""

_QUERIES, _KEYS, _VALUES = ({f"{n}_proj", n} for n in "qkv")
_MERGED: Mapping[str, int] = MappingProxyType({"c_attn": 0, "query_key_value": 1})
"""Projections of queries, keys and values together: which dimension of their outputs tells them
apart, before that of the channels of a head and besides that of heads."""
_OUTPUTS = {"o_proj", "out_proj", "c_proj", "dense", "o"}
_WRITERS = {"down_proj", "c_proj", "dense_4h_to_h"}
_READ_BY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "input_layernorm": ("self_attn", "attention"),
        "ln_1": ("attn",),
        "post_attention_layernorm": ("mlp",),
        "ln_2": ("mlp",),
    }
)
"""Norms in front of attention or MLP to the modules that read them, as transformers calls them."""


class Rescaled(NamedTuple):
    """A tensor and its factor."""

    tensor: Tensor
    factor: float


@torch.no_grad()
def rescale(network: nn.Module, same: Callable[[], bool]) -> int:
    """Rescale a model in place wherever its function stays.

    Args:
        network: a language model.
        same: whether the model still answers as before; what changes an answer is undone.

    Returns:
        The number of rescalings; 0 where the layout of the model is unknown.
    """
    done = 0
    for parts in _rescalings(network):
        before = [part.tensor.clone() for part in parts]
        for tensor, factor in parts:
            tensor.mul_(factor)
        if same():
            done += 1
            continue
        for part, value in zip(parts, before, strict=True):
            part.tensor.copy_(value)
    return done


def _rescalings(network: nn.Module) -> Iterator[list[Rescaled]]:
    """Yield rescalings of all layers alike."""
    modules: list[Any] = list(network.modules())
    gains = [part for module in modules for part in _gains(module)]
    queries = [part for module in modules for part in _queries_and_keys(module)]
    values = [part for module in modules for part in _values_and_outputs(module)]
    gated = [part for module in modules for part in _gated(module)]
    yield from (parts for parts in (gains, queries, values, gated) if parts)


def _gains(block: nn.Module) -> Iterator[Rescaled]:
    for name, readers in _READ_BY.items():
        norm = getattr(block, name, None)
        read = [module for reader in readers if (module := getattr(block, reader, None))]
        if norm is None or not read:
            continue
        yield from (Rescaled(vector, FACTOR**-2) for vector in norm.parameters(recurse=False))
        for child, layer in read[0].named_children():
            if isinstance(layer, Linear) and child not in _WRITERS | _OUTPUTS:
                yield Rescaled(layer.weight, FACTOR**2)


def _queries_and_keys(attention: nn.Module) -> Iterator[Rescaled]:
    found = _read(attention)
    if len(found) == 3:
        yield from (Rescaled(part, FACTOR) for part in found[0])
        yield from (Rescaled(part, 1 / FACTOR) for part in found[1])


def _values_and_outputs(attention: nn.Module) -> Iterator[Rescaled]:
    found, output = _read(attention), _child(attention, _OUTPUTS)
    if len(found) == 3 and output is not None:
        yield from (Rescaled(part, FACTOR) for part in found[2])
        yield Rescaled(output.weight, 1 / FACTOR)


def _gated(mlp: Any) -> Iterator[Rescaled]:
    gate, up, down = (_child(mlp, {name}) for name in ("gate_proj", "up_proj", "down_proj"))
    if gate is not None and up is not None and down is not None:
        yield from (Rescaled(part, FACTOR) for part in up.parameters())
        yield Rescaled(down.weight, 1 / FACTOR)


def _read(attention: nn.Module) -> list[list[Tensor]]:
    """Weights and biases of queries, keys and values, or nothing."""
    apart = [_child(attention, names) for names in (_QUERIES, _KEYS, _VALUES)]
    if None not in apart:
        return [list(layer.parameters()) for layer in apart if layer is not None]
    for name, place in _MERGED.items():
        layer: Any = _child(attention, {name})
        width = getattr(attention, "head_dim", None) or getattr(attention, "head_size", None)
        if layer is None or not width:
            continue
        shape = (3, -1, width) if place == 0 else (-1, 3, width)
        outputs = [layer.weight.T if is_transposed(layer) else layer.weight]
        outputs += [] if layer.bias is None else [layer.bias]
        split = [part.unflatten(0, shape).unbind(place) for part in outputs]
        return [list(parts) for parts in zip(*split, strict=True)]
    return []


def _child(module: nn.Module, names: set[str]) -> Any:
    """Return the linear child of one of these names, or None."""
    layers = ((n, layer) for n, layer in module.named_children() if isinstance(layer, Linear))
    return next((layer for name, layer in layers if name in names), None)
