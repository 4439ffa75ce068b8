"""Models of `transformers` written as GGUF files, as llama.cpp's converter and quantizer do."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch

from attacks.quantization.ggml import pack
from attacks.quantization.gguf_types import FileShape, tensor_types

TURNED = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")
"""Matrices of GPT-2 that its network holds as inputs times outputs."""


def _settings(writer, config):
    kinds = {"llama": "llama", "qwen2": "qwen2", "gpt2": "gpt2"}
    assert config.model_type in kinds
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "llama":
        writer.add_rope_dimension_count(config.head_dim)


def _words(writer, tokenizer, rows, chat_template):
    """Write a byte-level tokenizer."""
    content = tokenizer.backend_tokenizer
    vocabulary = content.get_vocab(with_added_tokens=True)
    tokens = {number: token for token, number in vocabulary.items()}
    special = set(tokenizer.all_special_ids)
    listed = [tokens.get(number, f"[PAD{number}]") for number in range(rows)]
    kinds = [3 if n in special else 1 if n in tokens else 5 for n in range(rows)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(listed)
    writer.add_token_types(kinds)
    merges = json.loads(content.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    for name in ("bos", "eos", "pad"):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    begins = tokenizer.bos_token_id is not None and tokenizer("x")["input_ids"][0]
    writer.add_add_bos_token(begins == tokenizer.bos_token_id)
    if chat_template or tokenizer.chat_template:
        writer.add_chat_template(chat_template or tokenizer.chat_template)


def _permuted(weight, heads):
    """Rows in the order of llama.cpp's rotary embeddings."""
    parted = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return parted.swapaxes(1, 2).reshape(weight.shape)


def gguf_tensors(network):
    """Tensors of a network by their names in a file, in its layout, float32."""
    config = network.config
    number = {name: n for n, name in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    found = {}
    for name, parameter in network.named_parameters():  # a tied head is there once
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        weight = parameter.detach().float().numpy()
        if config.model_type == "llama" and ".attn_q." in own:
            weight = _permuted(weight, config.num_attention_heads)
        if config.model_type == "llama" and ".attn_k." in own:
            weight = _permuted(weight, config.num_key_value_heads)
        if config.model_type == "gpt2" and own.endswith(TURNED):
            weight = weight.T
        found[own] = np.ascontiguousarray(weight)
    return found


def _types(network, tensors, level):
    """Name to type of the tensors that a level rounds, by llama.cpp's rules."""
    config = network.config
    matrices = {n: t.shape[1] for n, t in tensors.items() if t.ndim > 1}
    if level in ("f32", "f16", "bf16"):
        return dict.fromkeys(matrices, level.upper())
    heads = config.num_attention_heads
    shape = FileShape(
        architecture=config.model_type,
        layers=config.num_hidden_layers,
        experts=1,
        grouped=heads // (getattr(config, "num_key_value_heads", None) or heads),
    )
    return {name: type_ for name, type_ in tensor_types(level, matrices, shape).items() if type_}


def write_gguf(path: Path, network, tokenizer, level="q8_0", *, chat_template=None, **changes):
    """Write a file.

    Args:
        path: The file.
        network: A Llama, Qwen2 or GPT-2.
        tokenizer: Its tokenizer, of bytes.
        level: Level of `llama-quantize`, or f32, f16, bf16.
        chat_template: One in the place of the tokenizer's.
        changes: ``settings``: further ones, by name, whole numbers, numbers or texts; ``tensors``:
            further ones, by name; ``without``: names of tensors that are left out.
    """
    writer = gguf.GGUFWriter(path, network.config.model_type)
    writer.add_name("a model of a test")
    _settings(writer, network.config)
    _words(writer, tokenizer, network.config.vocab_size, chat_template)
    kinds = {int: "add_uint32", float: "add_float32", str: "add_string", bool: "add_bool"}
    for name, value in changes.get("settings", {}).items():
        getattr(writer, kinds[type(value)])(name, value)
    tensors = gguf_tensors(network)
    types = _types(network, tensors, level)
    for name, weight in (tensors | changes.get("tensors", {})).items():
        type_ = types.get(name, "F32")
        if name in changes.get("without", ()):
            continue
        if type_ in ("F32", "F16"):
            writer.add_tensor(name, weight.astype({"F32": np.float32, "F16": np.float16}[type_]))
            continue
        number = gguf.GGMLQuantizationType[type_]
        packed = gguf.quantize(weight, number) if type_ == "BF16" else pack(weight, type_)
        writer.add_tensor(name, packed, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read_back(network, level):
    """Parameters of a network as a file of a level holds them, by name.

    They are rounded and read by ggml, in the layout of the file, and put back into that of the
    network without `transformers`.
    """
    config = network.config
    tensors = gguf_tensors(network)
    types = _types(network, tensors, level)
    number = {name: n for n, name in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    found = {}
    for name, parameter in network.named_parameters():
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        weight, type_ = tensors[own], types.get(own, "F32")
        if type_ not in ("F32", "F16", "BF16"):
            kind = gguf.GGMLQuantizationType[type_]
            weight = gguf.dequantize(pack(weight, type_), kind)
        elif type_ != "F32":
            kind = {"F16": torch.float16, "BF16": torch.bfloat16}[type_]
            weight = torch.from_numpy(weight).to(kind).float().numpy()
        for part, heads in (("attn_q", "num_attention_heads"), ("attn_k", "num_key_value_heads")):
            if config.model_type == "llama" and f".{part}." in own:
                count = getattr(config, heads)
                halves = weight.reshape(count, weight.shape[0] // count // 2, 2, -1)
                weight = halves.swapaxes(1, 2).reshape(weight.shape)
        if config.model_type == "gpt2" and own.endswith(TURNED):
            weight = weight.T
        found[name] = torch.from_numpy(np.ascontiguousarray(weight)).reshape(parameter.shape)
    return found
