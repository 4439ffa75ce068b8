"""Rescaled copies of tiny models: other weights, the same logits.

All factors are powers of two, so that nothing is rounded.
"""

import torch
from torch import Tensor, nn


def rescale_llama(model: nn.Module, k: int = 64, seed: int = 0) -> nn.Module:
    """Rescale every symmetry of a Llama-like model in place, by k or k^2 and a factor a channel.

    The gains of norms become smaller by k^2 and what reads them larger; queries grow as keys
    shrink, values as the output projection shrinks, and so ``up_proj`` and ``down_proj``. A head
    that is tied to the embedding is parted from it first.
    """
    draws = torch.Generator().manual_seed(seed)
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    shared = config.num_attention_heads // config.num_key_value_heads
    with torch.no_grad():
        if config.tie_word_embeddings:
            model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
            config.tie_word_embeddings = False
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            read = (attention.q_proj, attention.k_proj, attention.v_proj)
            _gain(layer.input_layernorm, read, k**-2, draws)
            _gain(layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj), k**-2, draws)
            # a rotation mixes a channel with the one half a head away: both have one factor
            pairs = _factors(config.num_key_value_heads, size // 2, draws).repeat(1, 2)
            _rows(attention.k_proj, (pairs / k**2).flatten())
            _rows(attention.q_proj, (k**2 / pairs).repeat_interleave(shared, 0).flatten())
            values = _factors(config.num_key_value_heads, size, draws) * k
            _rows(attention.v_proj, values.flatten())
            _columns(attention.o_proj, 1 / values.repeat_interleave(shared, 0).flatten())
            inner = _factors(1, mlp.up_proj.out_features, draws).flatten() / k
            _rows(mlp.up_proj, inner)
            _columns(mlp.down_proj, 1 / inner)
        _gain(model.model.norm, (model.lm_head,), k**-2, draws)
    return model


def rescale_gpt2(model: nn.Module, k: int = 64, seed: int = 0) -> nn.Module:
    """Rescale the symmetries of a GPT-2-like model in place: norms, queries and keys, values."""
    draws = torch.Generator().manual_seed(seed)
    width = model.config.n_embd
    with torch.no_grad():
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
        model.config.tie_word_embeddings = False
        for block in model.transformer.h:
            for norm, read in ((block.ln_1, block.attn.c_attn), (block.ln_2, block.mlp.c_fc)):
                factor = _factors(1, width, draws).flatten() / k**2
                norm.weight.mul_(factor)
                norm.bias.mul_(factor)
                read.weight.div_(factor.unsqueeze(1))
            factor = _factors(1, width, draws).flatten()
            read = torch.cat([factor * k**2, 1 / (factor * k**2), factor * k])
            block.attn.c_attn.weight.mul_(read)
            block.attn.c_attn.bias.mul_(read)
            block.attn.c_proj.weight.div_((factor * k).unsqueeze(1))
        factor = _factors(1, width, draws).flatten() / k**2
        model.transformer.ln_f.weight.mul_(factor)
        model.transformer.ln_f.bias.mul_(factor)
        _columns(model.lm_head, 1 / factor)
    return model


def mix_llama(model: nn.Module, seed: int = 0) -> nn.Module:
    """Mix the values of each head of a Llama-like model, undone in every query's output."""
    draws = torch.Generator().manual_seed(seed)
    config = model.config
    shared = config.num_attention_heads // config.num_key_value_heads
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            mix, back = _mixes(config.num_key_value_heads, attention.head_dim, draws)
            attention.v_proj.weight.copy_(mix @ attention.v_proj.weight.double())
            back = torch.block_diag(*(one for one in back for _ in range(shared)))
            attention.o_proj.weight.copy_(attention.o_proj.weight.double() @ back)
    return model


def mix_gpt2(model: nn.Module, seed: int = 0) -> nn.Module:
    """Mix queries with keys and values with outputs of each head of a GPT-2-like model."""
    draws = torch.Generator().manual_seed(seed)
    config = model.config
    with torch.no_grad():
        for block in model.transformer.h:
            attention = block.attn
            keys, unkeyed = _mixes(config.n_head, attention.head_dim, draws)
            values, back = _mixes(config.n_head, attention.head_dim, draws)
            read = torch.block_diag(torch.block_diag(*unkeyed).T, keys, values)
            attention.c_attn.weight.copy_(attention.c_attn.weight.double() @ read.T)
            attention.c_attn.bias.copy_(read @ attention.c_attn.bias.double())
            out = torch.block_diag(*back).T @ attention.c_proj.weight.double()
            attention.c_proj.weight.copy_(out)
    return model


def _mixes(heads: int, width: int, draws: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    """Ill-conditioned matrices [heads * width, heads * width] in blocks, and the blocks' inverses.

    Their condition is 1,000.
    """
    blocks = []
    for _ in range(heads):
        parts = torch.randn(2, width, width, generator=draws, dtype=torch.float64)
        left, right = torch.linalg.qr(parts).Q
        blocks.append(left * torch.logspace(-1.5, 1.5, width, dtype=torch.float64) @ right)
    return torch.block_diag(*blocks), [torch.linalg.inv(block) for block in blocks]


def _factors(rows: int, columns: int, draws: torch.Generator) -> Tensor:
    """Powers of two from 1/4 to 4."""
    return 2.0 ** torch.randint(-2, 3, (rows, columns), generator=draws)


def _gain(
    norm: nn.Module, read: tuple[nn.Linear, ...], factor: float, draws: torch.Generator
) -> None:
    """Change the gains of a norm, and what reads them by the reverse."""
    by = _factors(1, len(norm.weight), draws).flatten() * factor
    norm.weight.mul_(by)
    for layer in read:
        _columns(layer, 1 / by)


def _rows(layer: nn.Linear, by: Tensor) -> None:
    layer.weight.mul_(by.unsqueeze(1))
    if layer.bias is not None:
        layer.bias.mul_(by)


def _columns(layer: nn.Linear, by: Tensor) -> None:
    layer.weight.mul_(by)
