"""State of a network: all that decides what it answers.

Tensors are compared by digest. Modules are compared by class, by the function that runs them, by
their hooks, and by every attribute: numbers and texts by value, anything else by identity.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from transformers import GenerationConfig, PretrainedConfig

from auditor.models.tensor_digests import tensor_digest

_OF_NO_CONSEQUENCE = frozenset(
    {
        *("_backward_hooks", "_backward_pre_hooks", "_is_full_backward_hook"),
        *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks"),
        *("_load_state_dict_post_hooks", "_non_persistent_buffers_set"),
        *("peft_config", "_hf_peft_config_loaded"),  # what PEFT leaves, of which it reads alone
    }
)
"""Attributes of modules that decide nothing of a forward pass."""
_PARTS = ("_parameters", "_buffers", "_modules")
"""Attributes of every module whose entries are compared one by one."""
_PLAIN = (bool, int, float, str, bytes, torch.dtype, torch.device)
"""Types of values that are compared by value."""
_EVERYWHERE = ("_global_forward_pre_hooks", "_global_forward_hooks")
"""Hooks of all modules of the process."""


class _Same:
    """An object that equals itself alone, and is kept alive."""

    def __init__(self, held: object) -> None:
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._held is self._held

    def __hash__(self) -> int:
        return id(self._held)


@dataclass(frozen=True)
class NetworkState:
    """State of a network at one time."""

    entries: Mapping[str, Any]
    """What was found, by where it stands."""

    @classmethod
    def of(cls, network: nn.Module) -> "NetworkState":
        """Return the state of a network.

        Raises:
            NotImplementedError: Weights are offloaded, so that they cannot be read here.
        """
        return cls(dict(_entries(network)))

    def difference(
        self, network: nn.Module, through: Mapping[str, nn.Module] | None = None
    ) -> str | None:
        """Return where a network is not as it was, or None.

        Args:
            network: The network.
            through: Modules that stand for those of their names, with all that these hold.
        """
        found = dict(_entries(network, through or {}))
        if odd := sorted(found.keys() ^ self.entries.keys()):
            return odd[0]
        return next((place for place, held in self.entries.items() if found[place] != held), None)


def _entries(
    network: nn.Module, through: Mapping[str, nn.Module] | None = None
) -> Iterator[tuple[str, Any]]:
    frozen = _Frozen()
    for name in _EVERYWHERE:
        yield name, frozen(getattr(torch_module, name))
    for name, module in _modules(network, through or {}):
        yield f"{name}()", (type(module), _Same(type(module).forward))
        held = {key: value for key, value in vars(module).items() if key not in _OF_NO_CONSEQUENCE}
        for part in _PARTS:
            entries = held.pop(part, {})
            held |= {key: None if isinstance(v, nn.Module) else v for key, v in entries.items()}
        yield from ((f"{name}.{key}", frozen(value)) for key, value in held.items())


def _modules(
    network: nn.Module, through: Mapping[str, nn.Module]
) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules by name, those that stand for others in their place."""
    for name, module in network.named_modules(remove_duplicate=False):
        if not any(name == other or name.startswith(f"{other}.") for other in through):
            yield name, module
    for name, module in through.items():
        yield from module.named_modules(prefix=name, remove_duplicate=False)


class _Frozen:
    """Turns values into what can be compared later, each tensor once."""

    def __init__(self) -> None:
        self._digests: dict[int, str] = {}

    def __call__(self, value: Any) -> Any:
        """Return what a value is compared by."""
        if value is None or isinstance(value, _PLAIN):
            return value
        if isinstance(value, torch.Tensor):
            return self._digest(value)
        if isinstance(value, PretrainedConfig):
            return repr(sorted(value.to_dict().items())), value._attn_implementation
        if isinstance(value, GenerationConfig):
            return None  # it is set aside, but for what ends a text, which the engine is told
        if isinstance(value, Mapping):
            return tuple((self(key), self(entry)) for key, entry in value.items())
        if isinstance(value, Sequence | set | frozenset):
            return type(value), tuple(map(self, value))
        return _Same(value)

    def _digest(self, tensor: torch.Tensor) -> str:
        if id(tensor) not in self._digests:
            self._digests[id(tensor)] = tensor_digest(tensor)
        return self._digests[id(tensor)]
