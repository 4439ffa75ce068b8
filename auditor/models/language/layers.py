"""Layers of a language model that quantizers round.

Attacks change them, and positive controls train them.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Linear = nn.Linear | Conv1D
"""Linear map. GPT-2's ``Conv1D`` holds its weight as [in, out]."""


class WeightMatrix(NamedTuple):
    """A weight that maps hidden states, and where it is."""

    name: str
    """Name as in ``named_parameters``."""
    module: nn.Module
    attribute: str
    """Name of the parameter within its module."""
    parameter: nn.Parameter
    """Parameter of two dimensions or more (a mixture of experts keeps all experts in one)."""


def reads_text_alone(network: Any) -> bool:
    """Return whether all parts of a network are there for text.

    A model of several modalities has towers for pictures or sound, which no text passes.
    """
    config = getattr(network, "config", None)
    if config is None or config.is_encoder_decoder:
        return True
    return config.get_text_config() is config


def text_modules(network: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that text passes, by name.

    What turns hidden states into tokens is not among them where there are other modalities.
    """
    if reads_text_alone(network):
        yield from network.named_modules()
        return
    passed = set(network.get_decoder().modules())
    yield from ((name, module) for name, module in network.named_modules() if module in passed)


def linear_layers(network: Any) -> dict[str, Any]:
    """Return the layers that deployers quantize, by name.

    They are all linear maps that text passes, but the output head.
    """
    head = network.get_output_embeddings()
    return {
        name: module
        for name, module in text_modules(network)
        if isinstance(module, Linear) and module is not head
    }


def is_transposed(layer: nn.Module) -> bool:
    """Return whether a linear map holds its weight as [in, out].

    Others hold it as [out, in].
    """
    return isinstance(layer, Conv1D)


def linear_weights(network: Any) -> Iterator[tuple[str, Tensor, bool]]:
    """The weights of :func:`linear_layers`.

    Yields:
        The layer's name, its weight, and whether that is transposed.
    """
    for name, layer in linear_layers(network).items():
        yield name, layer.weight, is_transposed(layer)


def embedded_weights(network: Any) -> list[nn.Parameter]:
    """Return the weights of a network's embeddings and of its output head.

    Each is there once, however often it is shared. A network that writes no text has no head.
    """
    head_of = getattr(network, "get_output_embeddings", None)
    head = head_of() if head_of is not None else None
    modules = (m for m in network.modules() if isinstance(m, nn.Embedding) or m is head)
    weights = (getattr(module, "weight", None) for module in modules)
    return list({id(weight): weight for weight in weights if weight is not None}.values())


def weight_matrices(network: nn.Module) -> Iterator[WeightMatrix]:
    """Yield every weight matrix of the layers, by name.

    Each is yielded once, however often it is shared.

    Left out are embeddings (of tokens and of positions), the output head, norms and biases, which
    quantizers leave alone too, and what no text passes. Stacked experts, which no linear layer
    holds, are among them.
    """
    head = network.get_output_embeddings()  # type: ignore[operator]
    passed = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, nn.Embedding) or module is head
        for parameter in module.parameters(recurse=False)
    }
    for path, module in text_modules(network):
        for attribute, parameter in module.named_parameters(recurse=False):
            if parameter.ndim < 2 or id(parameter) in passed or not parameter.is_floating_point():
                continue
            passed.add(id(parameter))
            yield WeightMatrix(f"{path}.{attribute}", module, attribute, parameter)
