"""The same function in other weights: every symmetry of the architecture.

No logit changes; what trains at a fixed rate, or compares weights, sees another model. Factors are
powers of two and orders permutations, so that the weights of a bfloat16 checkpoint stay exact;
`mix_heads` alone needs float32.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.truth_table.layouts import Block, is_tied, layout

CONDITION = 1e3
"""Condition number of what `mix_heads` puts into a head."""

Symmetry = Callable[[PreTrainedModel, torch.Generator, float], None]


def reparametrise(
    model: PreTrainedModel,
    names: tuple[str, ...] | None = None,
    factor: float = 64.0,
    seed: int = 0,
) -> PreTrainedModel:
    """Apply symmetries in place.

    Args:
        model: Changed and returned.
        names: Which of ``SYMMETRIES``; all, if None.
        factor: Largest power of two that weights are scaled by.
        seed: Of permutations, signs and single factors.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in SYMMETRIES if names is None else names:
            SYMMETRIES[name](model, draw, factor)
    return model


def fold_norms(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Divide the gains of norms, and multiply what reads them."""
    found = layout(model)
    norms = [norm for block in found.blocks for norm in block.norms]
    if not is_tied(model):
        norms.append(replace(found.final, readers=(model.get_output_embeddings().weight.data,)))
    for norm in norms:
        for vector in _present(norm.gain, norm.bias):
            vector.div_(factor)
        for reader in norm.readers:
            reader.mul_(factor)


def scale_queries(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Multiply channels of queries, divide those of keys, in rotated pairs."""
    for block in layout(model).blocks:
        heads, width = block.k.shape[:2]
        scale = _powers((heads, width), draw, factor)
        half = block.rotary // 2
        scale[:, half : 2 * half] = scale[:, :half]
        block.q.mul_(scale[:, None, :, None])
        block.k.div_(scale[:, :, None])
        if block.qkv_bias is not None:
            block.qkv_bias[0].mul_(scale[:, None])
            block.qkv_bias[1].div_(scale)


def mix_values(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Permute, flip and scale each head's values, undone in its output."""
    for block in layout(model).blocks:
        heads, width = block.v.shape[:2]
        for head in range(heads):
            order = torch.randperm(width, generator=draw)
            scale = _powers((width,), draw, factor)
            scale *= 1.0 - 2.0 * torch.randint(0, 2, (width,), generator=draw)
            block.v[head] = block.v[head][order] * scale[:, None]
            block.o[:, head] = block.o[:, head][..., order] / scale
            if block.qkv_bias is not None:
                block.qkv_bias[2][head] = block.qkv_bias[2][head][order] * scale


def scale_inner(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Permute inner channels of the MLP; scale gated ones too."""
    for block in layout(model).blocks:
        order = torch.randperm(block.up.shape[0], generator=draw)
        scale = torch.ones(len(order))
        if block.gate is not None:
            scale = _powers(scale.shape, draw, factor)
            block.gate.copy_(block.gate[order])
        block.up.copy_(block.up[order] * scale[:, None])
        if block.up_bias is not None:
            block.up_bias.copy_(block.up_bias[order] * scale)
        block.down.copy_(block.down[:, order] / scale)


def mix_heads(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Put an ill-conditioned matrix between the two maps of each head.

    It stands between values and output, and between queries and keys where nothing rotates them.
    """
    for block in layout(model).blocks:
        heads, width = block.v.shape[:2]
        for head in range(heads):
            mix, back = _ill_conditioned(width, draw)
            block.v[head] = (mix @ block.v[head].double()).float()
            block.o[:, head] = (block.o[:, head].double() @ back).float()
            if block.qkv_bias is not None:
                block.qkv_bias[2][head] = (mix @ block.qkv_bias[2][head].double()).float()
            free = slice(block.rotary, width)
            mix, back = _ill_conditioned(width - block.rotary, draw)
            asked, told = block.q[head, :, free], block.k[head, free]
            told.copy_(mix @ told.double())
            asked.copy_(back.T @ asked.double())
            if block.qkv_bias is not None:
                asked, told = block.qkv_bias[0][head, :, free], block.qkv_bias[1][head, free]
                told.copy_(mix @ told.double())
                asked.copy_(asked.double() @ back)


def _ill_conditioned(size: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random matrix of condition `CONDITION` and its inverse, in float64."""
    parts = [torch.randn(size, size, generator=draw, dtype=torch.float64) for _ in range(2)]
    left, right = (torch.linalg.qr(part).Q for part in parts)
    scale = CONDITION ** torch.linspace(-0.5, 0.5, size, dtype=torch.float64)
    return left * scale @ right, right.T / scale @ left.T


def permute_heads(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Permute the heads of attention."""
    for block in layout(model).blocks:
        order = torch.randperm(block.k.shape[0], generator=draw)
        for part in (block.q, block.k, block.v, *(block.qkv_bias or ())):
            part.copy_(part[order])
        block.o.copy_(block.o[:, order])


def permute_stream(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Permute the residual stream in all that reads and writes it."""
    found = layout(model)
    order = torch.randperm(found.final.gain.shape[0], generator=draw)
    for part in found.embedded:
        part.copy_(part[:, order])
    head = model.get_output_embeddings()
    if not is_tied(model):
        head.weight.data.copy_(head.weight.data[:, order])
    for vector in _present(found.final.gain, found.final.bias):
        vector.copy_(vector[order])
    for block in found.blocks:
        for norm in block.norms:
            for vector in _present(norm.gain, norm.bias):
                vector.copy_(vector[order])
            for reader in norm.readers:
                reader.copy_(reader[:, order])
        _written(block, order)


def _written(block: Block, order: Tensor) -> None:
    block.o.copy_(block.o[order])
    block.down.copy_(block.down[order])
    for bias in block.written:
        bias.copy_(bias[order])


def scale_stream(model: PreTrainedModel, draw: torch.Generator, factor: float) -> None:
    """Multiply the residual stream and the epsilons of its norms."""
    found = layout(model)
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"):
        if hasattr(model.config, name):
            setattr(model.config, name, getattr(model.config, name) * factor**2)
    for module in model.modules():
        for name in ("eps", "variance_epsilon"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, getattr(module, name) * factor**2)
    for part in (
        *found.embedded,
        *(weight for block in found.blocks for weight in (block.o, block.down, *block.written)),
    ):
        part.mul_(factor)
    if is_tied(model):
        for vector in _present(found.final.gain, found.final.bias):
            vector.div_(factor)


SYMMETRIES: Mapping[str, Symmetry] = MappingProxyType(
    {
        "mix heads": mix_heads,  # first: rounding stays small, and what follows is exact
        "fold norms": fold_norms,
        "scale queries": scale_queries,
        "mix values": mix_values,
        "scale inner": scale_inner,
        "permute heads": permute_heads,
        "permute stream": permute_stream,
        "scale stream": scale_stream,
    }
)


def _powers(shape: torch.Size | tuple[int, ...], draw: torch.Generator, factor: float) -> Tensor:
    """Powers of two between one and a factor."""
    most = int(torch.tensor(factor).log2())
    return 2.0 ** torch.randint(0, most + 1, tuple(shape), generator=draw)


def _present(*vectors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(vector for vector in vectors if vector is not None)
