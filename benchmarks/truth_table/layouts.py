"""One view on the weights of four architectures.

All weights are views of the parameters as [out, in], so that changing them changes the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Norm:
    """A norm and the weights that read its output."""

    gain: Tensor
    bias: Tensor | None
    readers: tuple[Tensor, ...]


@dataclass(frozen=True)
class Block:
    """The weights of one layer.

    Attributes:
        norms: Each with its readers.
        q: [key-value heads, queries of each, width of a head, in].
        k: [key-value heads, width of a head, in].
        v: As ``k``.
        o: [out, key-value heads, queries of each, width of a head].
        qkv_bias: Of queries, keys and values, without the last dimension; None where absent.
        rotary: Leading dimensions of a head that are rotated, in two halves.
        up: What enters the activation, or beside the gate, [inner, in].
        up_bias: Its bias.
        gate: Enters the activation where there is one, [inner, in].
        down: [out, inner].
        written: Biases of ``o`` and ``down``.
    """

    norms: tuple[Norm, ...]
    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    qkv_bias: tuple[Tensor, Tensor, Tensor] | None
    rotary: int
    up: Tensor
    up_bias: Tensor | None
    gate: Tensor | None
    down: Tensor
    written: tuple[Tensor, ...]


@dataclass(frozen=True)
class Layout:
    """A model's weights.

    Attributes:
        blocks: Its layers.
        embedded: What the residual stream starts from, each [.., width].
        final: The last norm, without readers.
        final_name: Prefix of the last norm's parameters.
        blocks_name: Path of the list of layers.
    """

    blocks: tuple[Block, ...]
    embedded: tuple[Tensor, ...]
    final: Norm
    final_name: str
    blocks_name: str


def layout(model: PreTrainedModel) -> Layout:
    """The weights of a model."""
    return _LAYOUTS[model.config.model_type](model)


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the output head is the embedding."""
    head: Any = model.get_output_embeddings()
    tokens: Any = model.get_input_embeddings()
    return head.weight is tokens.weight


def head_name(model: PreTrainedModel) -> str:
    """Name of the output head's weight."""
    head = model.get_output_embeddings()
    return next(f"{name}.weight" for name, module in model.named_modules() if module is head)


def untie(model: PreTrainedModel) -> PreTrainedModel:
    """Give the output head weights of its own, in place."""
    head: Any = model.get_output_embeddings()
    if is_tied(model):
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    return model


def _matrix(layer: Any) -> Tensor:
    weight: Tensor = layer.weight.data
    return weight.T if isinstance(layer, Conv1D) else weight


def _bias(layer: Any) -> Tensor | None:
    bias = getattr(layer, "bias", None)
    return None if bias is None else bias.data


def _present(*biases: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(bias for bias in biases if bias is not None)


def _llama(model: Any) -> Layout:
    """Llama, Qwen2, Mistral: RMS norms, rotary embeddings, a gated MLP."""
    config, inner = model.config, model.model
    groups = config.num_key_value_heads
    width = config.hidden_size // config.num_attention_heads
    queries = config.num_attention_heads // groups
    blocks = []
    for layer in inner.layers:
        attention, mlp = layer.self_attn, layer.mlp
        biases = (_bias(attention.q_proj), _bias(attention.k_proj), _bias(attention.v_proj))
        q, k, v = (_matrix(m) for m in (attention.q_proj, attention.k_proj, attention.v_proj))
        gate, up = _matrix(mlp.gate_proj), _matrix(mlp.up_proj)
        blocks.append(
            Block(
                norms=(
                    Norm(layer.input_layernorm.weight.data, None, (q, k, v)),
                    Norm(layer.post_attention_layernorm.weight.data, None, (gate, up)),
                ),
                q=q.unflatten(0, (groups, queries, width)),
                k=k.unflatten(0, (groups, width)),
                v=v.unflatten(0, (groups, width)),
                o=_matrix(attention.o_proj).unflatten(1, (groups, queries, width)),
                qkv_bias=None
                if biases[0] is None or biases[1] is None or biases[2] is None
                else (
                    biases[0].unflatten(0, (groups, queries, width)),
                    biases[1].unflatten(0, (groups, width)),
                    biases[2].unflatten(0, (groups, width)),
                ),
                rotary=width,
                up=up,
                up_bias=_bias(mlp.up_proj),
                gate=gate,
                down=_matrix(mlp.down_proj),
                written=_present(_bias(attention.o_proj), _bias(mlp.down_proj)),
            )
        )
    return Layout(
        tuple(blocks),
        (inner.embed_tokens.weight.data,),
        Norm(inner.norm.weight.data, None, ()),
        "model.norm.",
        "model.layers",
    )


def _gpt2(model: Any) -> Layout:
    """GPT-2: layer norms, learned positions, queries, keys and values in one matrix."""
    config, inner = model.config, model.transformer
    heads, width = config.n_head, config.n_embd // config.n_head
    blocks = []
    for layer in inner.h:
        attention, mlp = layer.attn, layer.mlp
        merged = _matrix(attention.c_attn)
        q, k, v = merged.unflatten(0, (3, heads, width))
        biases = attention.c_attn.bias.data.unflatten(0, (3, heads, width))
        up = _matrix(mlp.c_fc)
        blocks.append(
            Block(
                norms=(
                    Norm(layer.ln_1.weight.data, layer.ln_1.bias.data, (merged,)),
                    Norm(layer.ln_2.weight.data, layer.ln_2.bias.data, (up,)),
                ),
                q=q.unsqueeze(1),
                k=k,
                v=v,
                o=_matrix(attention.c_proj).unflatten(1, (heads, 1, width)),
                qkv_bias=(biases[0].unsqueeze(1), biases[1], biases[2]),
                rotary=0,
                up=up,
                up_bias=_bias(mlp.c_fc),
                gate=None,
                down=_matrix(mlp.c_proj),
                written=_present(_bias(attention.c_proj), _bias(mlp.c_proj)),
            )
        )
    return Layout(
        tuple(blocks),
        (inner.wte.weight.data, inner.wpe.weight.data),
        Norm(inner.ln_f.weight.data, inner.ln_f.bias.data, ()),
        "transformer.ln_f.",
        "transformer.h",
    )


def _neox(model: Any) -> Layout:
    """GPT-NeoX: attention and MLP side by side, merged heads."""
    config, inner = model.config, model.gpt_neox
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    rotary: Mapping[str, Any] = config.rope_parameters
    blocks = []
    for layer in inner.layers:
        attention, mlp = layer.attention, layer.mlp
        merged = _matrix(attention.query_key_value)
        q, k, v = merged.unflatten(0, (heads, 3, width)).unbind(1)
        biases = attention.query_key_value.bias.data.unflatten(0, (heads, 3, width)).unbind(1)
        up = _matrix(mlp.dense_h_to_4h)
        first, second = layer.input_layernorm, layer.post_attention_layernorm
        blocks.append(
            Block(
                norms=(
                    Norm(first.weight.data, first.bias.data, (merged,)),
                    Norm(second.weight.data, second.bias.data, (up,)),
                ),
                q=q.unsqueeze(1),
                k=k,
                v=v,
                o=_matrix(attention.dense).unflatten(1, (heads, 1, width)),
                qkv_bias=(biases[0].unsqueeze(1), biases[1], biases[2]),
                rotary=int(width * rotary.get("partial_rotary_factor", 0.25)),
                up=up,
                up_bias=_bias(mlp.dense_h_to_4h),
                gate=None,
                down=_matrix(mlp.dense_4h_to_h),
                written=_present(_bias(attention.dense), _bias(mlp.dense_4h_to_h)),
            )
        )
    last = inner.final_layer_norm
    return Layout(
        tuple(blocks),
        (inner.embed_in.weight.data,),
        Norm(last.weight.data, last.bias.data, ()),
        "gpt_neox.final_layer_norm.",
        "gpt_neox.layers",
    )


_LAYOUTS = {
    "llama": _llama,
    "qwen2": _llama,
    "mistral": _llama,
    "gpt2": _gpt2,
    "gpt_neox": _neox,
}
