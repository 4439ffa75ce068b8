"""Gating that stacked experts bring as a method.

It has hooks as modules have them.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

_METHOD = "_apply_gate"


def has_own_gate(module: nn.Module) -> bool:
    """Return whether a module holds stacked experts that gate in a method."""
    return callable(getattr(module, _METHOD, None)) and hasattr(module, "is_concatenated")


def gate_part(module: nn.Module, values: Tensor) -> Tensor:
    """Return the pre-activations among what gating takes in, as a view.

    Args:
        module: Stacked experts.
        values: Pre-activations and what they are multiplied by [..., 2 * units].
    """
    if module.is_concatenated:
        return values[..., : values.shape[-1] // 2]
    return values[..., ::2]


class GateHook:
    """Hook around a module's own gating, until it is removed.

    Hooks are removed in the reverse order of their making.
    """

    def __init__(
        self,
        module: nn.Module,
        before: Callable[[Tensor], Tensor | None] = lambda gate: None,
        after: Callable[[Tensor], None] = lambda outputs: None,
    ) -> None:
        """Put a hook around a module's gating.

        Args:
            module: Stacked experts (`has_own_gate`).
            before: Takes the pre-activations; what it returns takes their place, unless None.
            after: Takes the outputs of the units.
        """
        self._module = module
        self._former = vars(module).get(_METHOD)
        apply: Callable[[Tensor], Tensor] = getattr(module, _METHOD)

        def hooked(values: Tensor) -> Tensor:
            changed = before(gate_part(module, values))
            if changed is not None:
                values = values.clone()
                gate_part(module, values).copy_(changed)
            outputs = apply(values)
            after(outputs)
            return outputs

        self._set(hooked)

    def remove(self) -> None:
        """Take the hook off."""
        if self._former is None:
            delattr(self._module, _METHOD)
        else:
            self._set(self._former)

    def _set(self, value: Any) -> None:
        setattr(self._module, _METHOD, value)
