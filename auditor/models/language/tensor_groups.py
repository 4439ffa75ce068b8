"""Groups of a language model's tensors by their place.

Places are embeddings, blocks, norms and output head.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from torch import nn

from auditor.models.language.experts import router_modules

Place = Literal["embeddings", "attention", "mlp", "norms", "routers", "head"]
"""Part of the network that a tensor belongs to: ``norms`` are all vectors within the blocks
(gains and biases), ``routers`` choose among stacked experts, ``head`` is the output head with the
last norm."""

THIRDS = ("first_third", "middle_third", "last_third")
"""Names of the thirds of a stack's blocks, in order."""


class Placed(NamedTuple):
    """A tensor and its place in the network."""

    name: str
    """Name as in ``named_parameters``, which names a shared tensor once for each use."""
    parameter: nn.Parameter
    place: Place
    third: str | None
    """Third of the blocks that it lies in; None outside of them."""


def placed_tensors(network: Any) -> list[Placed]:
    """Return every floating-point parameter with its place.

    Shared ones are listed once for each use.
    """
    depths = {
        name: len(module)
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    head = network.get_output_embeddings()
    routing = {path for _, path, _ in router_modules(network)}
    found = []
    for path, module in network.named_modules(remove_duplicate=False):
        for attribute, parameter in module.named_parameters(recurse=False):
            if not parameter.is_floating_point():
                continue
            name = f"{path}.{attribute}" if path else attribute
            block = _block(name, depths)
            third = None if block is None else THIRDS[3 * block[0] // block[1]]
            place: Place
            if path in routing:
                place = "routers"
            elif block is not None:
                place = _place_in_block(name, parameter)
            elif module is not head and (isinstance(module, nn.Embedding) or "emb" in name):
                place = "embeddings"
            else:
                place = "head"
            found.append(Placed(name, parameter, place, third))
    return found


def _block(name: str, depths: Mapping[str, int]) -> tuple[int, int] | None:
    """Return the index of a tensor's block, and the block count.

    Of nested blocks it is the outer.
    """
    parts = name.split(".")
    for end in range(1, len(parts)):
        stack = ".".join(parts[:end])
        if stack in depths and parts[end].isdigit():
            return int(parts[end]), depths[stack]
    return None


def _place_in_block(name: str, parameter: nn.Parameter) -> Place:
    """Return the place of a tensor in a block.

    Every architecture calls its attention ``att…``.
    """
    if parameter.ndim < 2:
        return "norms"
    return "attention" if "att" in name.lower() else "mlp"


@contextmanager
def untied(network: Any) -> Iterator[None]:
    """Untie the output head while the context lasts.

    It has a weight of its own meanwhile.
    """
    head, embeddings = network.get_output_embeddings(), network.get_input_embeddings()
    if head is None or embeddings is None or head.weight is not embeddings.weight:
        yield
        return
    shared = head.weight
    head.weight = nn.Parameter(shared.detach().clone(), requires_grad=False)
    try:
        yield
    finally:
        head.weight = shared
