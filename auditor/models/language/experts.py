"""Experts of a mixture, which a network keeps in stacked matrices."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from auditor.models.language.layers import text_modules

COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""Names under which configurations count experts."""
_STACKED = 3
"""Dimensions of stacked matrices."""
_MATRIX = 2
"""Dimensions of a router's weight, [experts, width]."""


class StackedExperts(NamedTuple):
    """Matrices of all experts of one layer."""

    name: str
    """Name as in ``named_parameters``."""
    parameter: nn.Parameter
    """Parameter [experts, out, in], or [experts, in, out]."""
    transposed: bool
    """Whether it is the latter."""

    def matrices(self) -> Iterator[Tensor]:
        """Yield each expert's matrix [out, in], which shares its memory."""
        for matrix in self.parameter.data:
            yield matrix.T if self.transposed else matrix


def stacked_experts(network: Any) -> list[StackedExperts]:
    """Return the stacked experts that text passes, in order.

    Args:
        network: A network of `transformers`.
    """
    config = network.config.get_text_config()
    counts = {getattr(config, name, None) for name in COUNTS} - {None}
    width = getattr(config, "hidden_size", None)
    return [
        StackedExperts(f"{path}.{name}", parameter, _is_transposed(module, name, parameter, width))
        for path, module in text_modules(network)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == _STACKED and parameter.is_floating_point() and len(parameter) in counts
    ]


def router_modules(network: Any) -> Iterator[tuple[str, str, nn.Module]]:
    """Yield the modules that choose among stacked experts.

    They stand beside them and have one row of weights for each.

    Yields:
        Name of the module that holds the experts, name of the router, and the router.
    """
    modules = dict(network.named_modules())
    holders = {
        stack.name.rpartition(".")[0]: len(stack.parameter) for stack in stacked_experts(network)
    }
    for holder, experts in holders.items():
        block = holder.rpartition(".")[0]
        for name, child in modules[block].named_children():
            weight = getattr(child, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == _MATRIX and len(weight) == experts:
                yield holder, f"{block}.{name}", child


def _is_transposed(
    module: nn.Module, name: str, parameter: nn.Parameter, width: int | None
) -> bool:
    """Return whether a module holds its experts as [experts, in, out].

    Modules say so; of others, the sides tell: all matrices take in hidden states but those that
    lead back to them.
    """
    said = getattr(module, "is_transposed", None)
    if said is not None:
        return bool(said)
    _, rows, columns = parameter.shape
    inside = rows if "down" in name or "output" in name else columns
    return inside != width and width in (rows, columns)
