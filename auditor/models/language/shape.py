"""Shape of a language model, from its configuration and headers."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from auditor.models.checkpoint_files import quantization_method
from auditor.models.gguf_header import read_header
from auditor.models.language import placement
from auditor.models.language.cache_size import CacheSize, cache_size, first_number
from auditor.models.language.experts import COUNTS
from auditor.models.language.layers import linear_layers, weight_matrices
from auditor.models.manifest import Location
from auditor.models.shape import FULL_PRECISION_LIMIT, Shape, weights_size

_MATRIX = 2
"""Dimensions of a matrix; experts are stacked in a third."""
_CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "top_k_experts")


def shape_of(auto_class: Any, config: PretrainedConfig, location: Location, dtype: str) -> Shape:
    """Return the shape of the network that a configuration describes.

    Args:
        auto_class: Class of ``transformers`` that loads models of the kind.
        config: The configuration.
        location: Files of the weights.
        dtype: Type of the weights in memory, as a spec has it.

    Raises:
        AuditorError: ``transformers`` has no such network.
    """
    folder = location.model
    class_ = placement.network_class(auto_class, config, folder)
    config_class: Any = type(config)
    counts = _counted(class_, config_class, config.to_json_string(use_diff=False))
    if location.gguf is not None:
        type_ = read_header(location.gguf).float_type if dtype == "auto" else dtype
        loaded = counts.parameters * getattr(torch, type_).itemsize
        return counts._replace(stored=location.gguf.stat().st_size, loaded=loaded)
    _, stored = weights_size(folder)
    size = stored
    if dtype != "auto" and not quantization_method(folder):
        size = counts.parameters * getattr(torch, dtype).itemsize
    return counts._replace(stored=stored, loaded=size)


@lru_cache(maxsize=32)
def _counted(network_class: Any, config_class: Any, content: str) -> Shape:
    """Count the weights of a network without memory.

    Args:
        network_class: Class of the network.
        config_class: Class of its configuration.
        content: The configuration as JSON.
    """
    network = placement.empty_network(network_class, config_class.from_dict(json.loads(content)))
    text = network.config.get_text_config()
    linear = sum(layer.weight.numel() for layer in linear_layers(network).values())
    bare = [parameter for _, parameter in bare_matrices(network)]
    experts = sum(parameter.numel() for parameter in bare if parameter.ndim > _MATRIX)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    layers = first_number(text, ("num_hidden_layers", "n_layer", "num_layers", "n_layers")) or 1
    width = first_number(text, ("hidden_size", "n_embd", "d_model")) or 0
    return Shape(
        parameters=parameters,
        stored=0,
        loaded=0,
        linear=linear,
        bare=sum(parameter.numel() for parameter in bare),
        active=parameters - round(experts * (1 - _chosen_share(text))),
        embeddings=_embedded(network),
        sides=sum(sum(m.weight.shape[-2:]) for m in _matrices(network)),
        layers=layers,
        width=width,
        vocabulary=first_number(text, ("vocab_size",)) or 0,
        cache=(cache_size(network.config) or CacheSize(2 * layers * width)).per_token,
    )


def holds_experts(network: PreTrainedModel) -> bool:
    """Return whether stacked experts hold a large part of a network's weights.

    It is what the configuration tells (`Shape.holds_experts`), of a network that is loaded.
    """
    text = network.config.get_text_config()
    if max(getattr(text, name, None) or 0 for name in COUNTS) <= 1:
        return False
    bare = sum(parameter.numel() for _, parameter in bare_matrices(network))
    linear = sum(layer.weight.numel() for layer in linear_layers(network).values())
    return bool(bare > FULL_PRECISION_LIMIT * (linear + bare))


def bare_matrices(network: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weight matrices that no linear layer holds, by name.

    A mixture of experts keeps its experts in such ones.
    """
    covered = {id(layer.weight) for layer in linear_layers(network).values()}
    for matrix in weight_matrices(network):
        if id(matrix.parameter) not in covered:
            yield matrix.name, matrix.parameter


def _matrices(network: PreTrainedModel) -> Iterator[Any]:
    """Yield the modules that hold a matrix: linear ones, head and embeddings."""
    yield from linear_layers(network).values()
    for module in (network.get_input_embeddings(), network.get_output_embeddings()):
        if module is not None and getattr(module, "weight", None) is not None:
            yield module


def _embedded(network: PreTrainedModel) -> int:
    """Weights of the embeddings, and of a head of its own."""
    modules = (network.get_input_embeddings(), network.get_output_embeddings())
    weights = [getattr(module, "weight", None) for module in modules]
    found = {id(weight): weight.numel() for weight in weights if weight is not None}
    return sum(found.values())


def _chosen_share(config: PretrainedConfig) -> float:
    """Share of the experts that a token goes through."""
    experts, chosen = first_number(config, COUNTS), first_number(config, _CHOSEN)
    return min(1.0, chosen / experts) if experts and chosen else 1.0
