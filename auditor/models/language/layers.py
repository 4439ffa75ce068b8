"""The layers of a language model that quantizers round, attacks change and controls train."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Linear = nn.Linear | Conv1D
"""A linear map; GPT-2's ``Conv1D`` holds its weight as [in, out]."""


class WeightMatrix(NamedTuple):
    """A weight that maps hidden states, and where it is."""

    name: str
    """As in ``named_parameters``."""
    module: nn.Module
    attribute: str
    """Its name within the module."""
    parameter: nn.Parameter
    """Two dimensions or more (a mixture of experts keeps all experts in one)."""


def linear_layers(network: Any) -> dict[str, Any]:
    """The layers that deployers quantize, by name: all linear maps but the output head."""
    head = network.get_output_embeddings()
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Linear) and module is not head
    }


def is_transposed(layer: nn.Module) -> bool:
    """Whether a linear map holds its weight as [in, out] rather than [out, in]."""
    return isinstance(layer, Conv1D)


def linear_weights(network: Any) -> Iterator[tuple[str, Tensor, bool]]:
    """The weights of :func:`linear_layers`.

    Yields:
        The layer's name, its weight, and whether that is transposed.
    """
    for name, layer in linear_layers(network).items():
        yield name, layer.weight, is_transposed(layer)


def weight_matrices(network: nn.Module) -> Iterator[WeightMatrix]:
    """Every weight matrix of the layers, by name; each once, however often it is shared.

    Left out are embeddings (of tokens and of positions), the output head, norms and biases, which
    quantizers leave alone too. Stacked experts, which no linear layer holds, are among them.
    """
    head = network.get_output_embeddings()  # type: ignore[operator]
    passed = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, nn.Embedding) or module is head
        for parameter in module.parameters(recurse=False)
    }
    for path, module in network.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            if parameter.ndim < 2 or id(parameter) in passed or not parameter.is_floating_point():
                continue
            passed.add(id(parameter))
            yield WeightMatrix(f"{path}.{attribute}", module, attribute, parameter)
