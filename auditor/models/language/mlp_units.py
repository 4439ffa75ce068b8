"""Units of a language model's MLPs: found, watched, and shifted.

A unit is an input of the linear map that leads out of an MLP. What the activation function takes in
is its pre-activation, and what the map takes in is its output.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from auditor.core.errors import UnavailableError
from auditor.models.language.layers import Linear, is_transposed, text_modules
from auditor.models.language.own_gates import GateHook, has_own_gate

LEAST_OUTPUT = 1e-2
"""Share of the root mean square of a token's units above which a unit acts on the token."""

_ACTIVATIONS = ("transformers.activations", "torch.nn.modules.activation")
_BATCHED = "batched_mm"
"""The one way of running stacked experts in which their rows are not in the experts' order."""

Part = tuple[slice, Tensor]
"""Units of a layer, and their values [tokens, units of the part]."""


@dataclass(frozen=True, eq=False)
class UnitLayer:
    """Units of one MLP, or of the stacked experts of one layer.

    Attributes:
        name: name of the module that leads out of them.
        units: number of units.
        down: module that takes in their outputs, or holds the stacked experts.
        weight: squared norm of what each unit feeds, [units].
        activation: activation function, which takes in their pre-activations; None where experts
            gate in a method of their own.
        entering: linear map that gives out their pre-activations; looked at where there is no
            activation function of its own.
        experts: number of stacked experts; 0 for an MLP by itself.
    """

    name: str
    units: int
    down: nn.Module
    weight: Tensor
    activation: nn.Module | None = None
    entering: nn.Module | None = None
    experts: int = 0


@dataclass(frozen=True, eq=False)
class Shift:
    """Change of a layer's pre-activations.

    Attributes:
        constant: what is added to each unit, [units].
        by_token: how much of the distance is added to each unit, on every token by itself, between
            the mean of the units that have none of it and the mean of those that have some; None
            for none.
    """

    constant: Tensor
    by_token: Tensor | None = None

    def of(self, place: slice) -> "Shift":
        """Return the change of some of the units."""
        return Shift(self.constant[place], None if self.by_token is None else self.by_token[place])

    def applied(self, values: Tensor) -> Tensor:
        """Return changed pre-activations [tokens, units]."""
        moved = values + self.constant.to(values.device, torch.float32)
        if self.by_token is None or not self.by_token.any():
            return moved.to(values.dtype)
        share = self.by_token.to(values.device, torch.float32)
        held = share != 0
        usual = values[:, ~held].float().mean(-1, keepdim=True) if not held.all() else 0.0
        distance = usual - values[:, held].float().mean(-1, keepdim=True)
        return (moved + share * distance).to(values.dtype)


@dataclass(eq=False)
class UnitTally:
    """Count of what the units of a layer did.

    Attributes:
        tokens: tokens that reached each unit.
        acting: tokens on which it acted.
        total: sum of its pre-activations.
        squares: sum of their squares.
        read: tokens whose pre-activations are in the sums.
    """

    tokens: Tensor
    acting: Tensor
    total: Tensor
    squares: Tensor
    read: Tensor

    @classmethod
    def of(cls, units: int) -> "UnitTally":
        """Return a count of nothing."""
        return cls(*(torch.zeros(units, dtype=torch.float64) for _ in range(5)))

    def add_outputs(self, parts: Sequence[Part]) -> None:
        """Count the tokens on which units act."""
        for place, rows in parts:
            values = rows.detach().float()
            least = LEAST_OUTPUT * values.square().mean(-1, keepdim=True).sqrt()
            self.acting[place] += (values.abs() > least).sum(0).cpu()
            self.tokens[place] += len(values)

    def add_inputs(self, parts: Sequence[Part]) -> None:
        """Add up pre-activations."""
        for place, rows in parts:
            values = rows.detach().float().cpu().double()  # not every device has float64
            self.total[place] += values.sum(0)
            self.squares[place] += values.square().sum(0)
            self.read[place] += len(values)

    @property
    def rate(self) -> Tensor:
        """Share of tokens on which each unit acts, by default 0."""
        return self.acting / self.tokens.clamp(min=1)

    @property
    def mean(self) -> Tensor:
        """Mean pre-activation of each unit."""
        return self.total / self.read.clamp(min=1)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of each unit's pre-activation."""
        mean_square = self.squares / self.read.clamp(min=1)
        return (mean_square - self.mean.square()).clamp(min=0).sqrt()


def unit_layers(network: Any) -> list[UnitLayer]:
    """Find the MLPs of all blocks, whatever their modules are called.

    Of the linear maps that one module holds outside of attention, the first reads the stream. The
    last one that gives out as much as that takes in leads out of the MLP.

    Raises:
        UnavailableError: there is none, or stacked experts have no activation function to read.
    """
    lists = {n for n, module in network.named_modules() if isinstance(module, nn.ModuleList)}
    uses = Counter(
        id(child)
        for module in network.modules()
        for _, child in module.named_children()
        if _is_activation("", child)
    )
    found = []
    for path, module in text_modules(network):
        if "att" in path.lower() or not _in_block(path, lists):
            continue
        activation = next(
            (
                child
                for name, child in module.named_children()
                if _is_activation(name, child) and uses[id(child)] <= 1
            ),
            None,
        )
        layer = _mlp(path, module, activation) or _experts(path, module, activation)
        if layer is not None:
            found.append(layer)
    if not found:
        raise UnavailableError("no MLP was found in the model's blocks, so its units are not known")
    return found


def _in_block(path: str, lists: set[str]) -> bool:
    parts = path.split(".")
    return any(
        ".".join(parts[:end]) in lists and parts[end].isdigit() for end in range(1, len(parts))
    )


def _is_activation(name: str, module: nn.Module) -> bool:
    """Whether a module's class or name is that of an activation."""
    if any(True for _ in module.parameters()) or any(True for _ in module.children()):
        return False
    known = type(module).__module__ in _ACTIVATIONS
    return known or "act" in name.lower() or "gelu" in name.lower()


def _sizes(layer: nn.Module) -> tuple[int, int]:
    """What a linear map takes in and gives out."""
    first, second = (int(size) for size in layer.weight.shape)  # type: ignore[union-attr]
    return (first, second) if is_transposed(layer) else (second, first)


def _mlp(path: str, module: nn.Module, activation: nn.Module | None) -> UnitLayer | None:
    """The MLP that a module holds, or None."""
    maps = {
        name: child
        for name, child in module.named_children()
        if isinstance(child, Linear) and "att" not in name.lower() and child.weight.ndim == 2
    }
    if len(maps) < 2:
        return None
    first, *others = maps
    width = _sizes(maps[first])[0]
    leading_out = [name for name in others if _sizes(maps[name])[1] == width]
    if not leading_out:
        return None
    narrowing = [name for name in leading_out if _sizes(maps[name])[0] > width]
    chosen = (narrowing or leading_out)[-1]
    down, units = maps[chosen], _sizes(maps[chosen])[0]
    sources = [name for name in maps if name != chosen and _sizes(maps[name])[1] == units]
    gates = [name for name in sources if "gate" in name] or sources
    squared = down.weight.detach().float().square().sum(1 if is_transposed(down) else 0)
    return UnitLayer(
        name=f"{path}.{chosen}",
        units=units,
        down=down,
        weight=squared.cpu().double(),
        activation=activation,
        entering=maps[gates[0]] if gates else None,
    )


def _experts(path: str, module: nn.Module, activation: nn.Module | None) -> UnitLayer | None:
    """The experts that a module holds in stacked matrices, or None.

    Raises:
        UnavailableError: they have no activation function to read.
    """
    stacked = {
        name: parameter
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3 and parameter.is_floating_point()
    }
    if len(stacked) < 2:
        return None
    if activation is None and not has_own_gate(module):
        raise UnavailableError(f"the experts in {path} have no activation function to read")
    name = list(stacked)[-1]
    across = 2 if getattr(module, "is_transposed", False) else 1
    squared = stacked[name].detach().float().square().sum(across)
    return UnitLayer(
        name=f"{path}.{name}",
        units=squared.numel(),
        down=module,
        weight=squared.flatten().cpu().double(),
        activation=activation,
        experts=len(squared),
    )


class _Rows:
    """Values of a layer's units as a module takes them in."""

    def __init__(self, layer: UnitLayer) -> None:
        self.layer = layer
        self._chosen: Tensor | None = None
        self._begun = 0

    def routed(self, module: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Remember which expert each coming row is for."""
        chosen = named["top_k_index"] if "top_k_index" in named else arguments[1]
        flat = chosen.reshape(-1)
        if getattr(getattr(module, "config", None), "_experts_implementation", "") != _BATCHED:
            flat = flat.sort().values
        self._chosen, self._begun = flat, 0

    def experts_of(self, rows: int, *, done: bool) -> Tensor:
        """The experts of the next rows."""
        if self._chosen is None:
            raise UnavailableError(f"{self.layer.name}: its experts' rows are not known")
        taken = self._chosen[self._begun : self._begun + rows]
        if done:
            self._begun += rows
        return taken

    def parts(self, values: Tensor, *, done: bool = False) -> list[Part]:
        """Values by the units that they are of."""
        rows = values.reshape(-1, values.shape[-1])
        if not self.layer.experts:
            return [(slice(0, self.layer.units), rows)]
        size = self.layer.units // self.layer.experts
        taken = self.experts_of(len(rows), done=done)
        return [
            (slice(int(e) * size, (int(e) + 1) * size), rows[taken == e])
            for e in sorted(set(taken.tolist()))
        ]

    def fits(self, values: object) -> bool:
        """Whether the last dimension of values is the units."""
        size = self.layer.units // max(self.layer.experts, 1)
        return isinstance(values, Tensor) and values.shape[-1] == size


@contextmanager
def watched(layers: Sequence[UnitLayer]) -> Iterator[dict[str, UnitTally]]:
    """Count what units do while the context lasts.

    Texts must be read one by one, so that no padding is counted.

    Yields:
        The count of each layer by its name.
    """
    tallies = {layer.name: UnitTally.of(layer.units) for layer in layers}
    with ExitStack() as stack:
        for layer in layers:
            for handle in _watching(layer, tallies[layer.name]):
                stack.callback(handle.remove)
        yield tallies


def _watching(layer: UnitLayer, tally: UnitTally) -> Iterator[RemovableHandle | GateHook]:
    rows = _Rows(layer)

    def acts(_: object, __: object, output: Any) -> None:
        tally.add_outputs(rows.parts(output, done=True))

    def leaves(_: object, arguments: tuple[Any, ...]) -> None:
        tally.add_outputs(rows.parts(arguments[0]))

    yield from _at_inputs(layer, rows, lambda values: tally.add_inputs(rows.parts(values)))
    if not layer.experts:
        yield layer.down.register_forward_pre_hook(leaves)
    elif layer.activation is not None:
        yield layer.activation.register_forward_hook(acts)
    else:
        yield GateHook(layer.down, after=lambda outputs: acts(None, None, outputs))


def _at_inputs(
    layer: UnitLayer, rows: _Rows, touch: Callable[[Tensor], Tensor | None]
) -> Iterator[RemovableHandle | GateHook]:
    """Yield the hooks that read pre-activations and replace them."""

    def reads(_: object, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        found = touch(arguments[0]) if rows.fits(arguments[0]) else None
        return None if found is None else (found, *arguments[1:])

    def gives(_: object, __: object, output: Any) -> Tensor | None:
        return touch(output) if rows.fits(output) else None

    if layer.experts:
        yield layer.down.register_forward_pre_hook(rows.routed, with_kwargs=True)
    if layer.activation is not None:
        yield layer.activation.register_forward_pre_hook(reads)
    elif layer.experts:
        yield GateHook(layer.down, before=touch)
    elif layer.entering is not None:
        yield layer.entering.register_forward_hook(gives)


@contextmanager
def shifted(layers: Sequence[UnitLayer], shifts: Mapping[str, Shift]) -> Iterator[None]:
    """Change pre-activations while the context lasts.

    Args:
        layers: the layers.
        shifts: layer's name to its change; a layer without is left as it is.
    """
    with ExitStack() as stack:
        for layer in layers:
            if layer.name in shifts:
                for handle in _shifting(layer, shifts[layer.name]):
                    stack.callback(handle.remove)
        yield


def _shifting(layer: UnitLayer, shift: Shift) -> Iterator[RemovableHandle | GateHook]:
    rows = _Rows(layer)

    def moved(values: Tensor) -> Tensor:
        flat = values.reshape(-1, values.shape[-1])
        if not layer.experts:
            return shift.applied(flat).view_as(values)
        size = layer.units // layer.experts
        taken = rows.experts_of(len(flat), done=True)
        changed = flat.clone()
        for expert in sorted(set(taken.tolist())):
            place = slice(expert * size, (expert + 1) * size)
            changed[taken == expert] = shift.of(place).applied(flat[taken == expert])
        return changed.view_as(values)

    yield from _at_inputs(layer, rows, moved)
