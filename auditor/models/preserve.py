"""Weights lent to an attack, and restored exactly afterwards.

An attack that changes no weight borrows none: it is only proved that nothing changed. What an
attack did change is restored from the model's files where they hold the same bits, and else from a
copy in the main memory.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from auditor.core.errors import UnavailableError
from auditor.models.stored_weights import StoredWeights
from auditor.models.tensor_digests import tensor_digest

_SHOWN = 3
"""Most names that a message lists."""


def weights_digest(model: nn.Module) -> str:
    """Digest (hex) over all parameters and buffers, persistent or not, by name."""
    digest = hashlib.sha256()
    for name, found in sorted(_digests(model).items()):
        digest.update(f"{name}:{found};".encode())
    return digest.hexdigest()


def check_offloaded(model: nn.Module) -> None:
    """Refuse weights that are brought in for each pass only.

    They have no gradients, and what is changed in them is not what the next pass brings in.

    Raises:
        UnavailableError: Names one, and says what to change.
    """
    away = sorted(name for name, tensor in _tensors(model).items() if tensor.is_meta)
    if away:
        raise UnavailableError(
            f"it works on the weights themselves, and {len(away)} tensors of this model (for "
            f"example {away[0]}) are offloaded to the main memory or to disk; give devices that "
            "hold the whole model, or open it in a smaller type (`dtype: bfloat16`)"
        )


@contextmanager
def unchanged_weights(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a model whose weights stay, and prove that they did.

    Modes, gradients and what asks for them may change, and are put back.

    Raises:
        RuntimeError: The attack left the model changed (a bug of the attack).
        UnavailableError: Weights are offloaded.
    """
    check_offloaded(model)
    before = _digests(model)

    def prove() -> None:
        if changed := _changed(model, before):
            raise RuntimeError(f"an attack changed weights that it was to leave: {_some(changed)}")

    with _same_form(model, prove):
        yield model


@contextmanager
def preserve_weights(
    model: nn.Module,
    lent: Collection[nn.Parameter] | None = None,
    stored: StoredWeights | None = None,
) -> Iterator[nn.Module]:
    """Yield a model to change in place, and restore it afterwards.

    It is restored bit for bit.

    Args:
        model: What is lent.
        lent: Parameters that may be changed; by default everything may.
        stored: Files that may hold the weights. Of all others a copy is kept.

    Raises:
        RuntimeError: The attack left the model with other tensors than it got (a bug of the
            attack: whatever it wraps, it must unwrap), changed others than were lent, or asked
            for weights that are not the model's.
        UnavailableError: Weights are offloaded.
    """
    check_offloaded(model)
    before = _digests(model)
    chosen = None if lent is None else {id(parameter) for parameter in lent}
    borrowed = {n: t for n, t in _tensors(model).items() if chosen is None or id(t) in chosen}
    if chosen and chosen - {id(tensor) for tensor in borrowed.values()}:
        raise RuntimeError("an attack asked for weights that are not the model's")
    kept = {
        name: tensor.detach().to("cpu", copy=True)
        for name, tensor in borrowed.items()
        if stored is None or not stored.holds(name, tensor, before[name])
    }

    def restore() -> None:
        changed, tensors = _changed(model, before), _tensors(model)
        if odd := [name for name in changed if name not in borrowed]:
            raise RuntimeError(f"an attack changed weights that were not lent: {_some(odd)}")
        with torch.no_grad():
            for name in changed:
                value = stored.read(name) if stored and name not in kept else kept[name]
                tensors[name].copy_(value)
        if any(tensor_digest(tensors[name]) != before[name] for name in changed):
            raise RuntimeError("an attack changed the model in a way that could not be undone")

    with _same_form(model, restore):
        yield model


@contextmanager
def replaced(tensors: Mapping[str, tuple[nn.Parameter, torch.Tensor]]) -> Iterator[None]:
    """Put other values into tensors while the context lasts.

    Where numbers of rows differ, the shared rows are replaced.

    Args:
        tensors: Name to the parameter and the value that takes its place.
    """
    kept = [(parameter, parameter.detach().clone()) for parameter, _ in tensors.values()]
    with torch.no_grad():
        for parameter, value in tensors.values():
            rows = min(len(parameter), len(value))
            parameter[:rows].copy_(value[:rows])
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in kept:
                parameter.copy_(before)


@contextmanager
def _same_form(model: nn.Module, settle: Callable[[], None]) -> Iterator[None]:
    """Check that a model keeps its form; put back modes and gradients.

    Args:
        model: A network.
        settle: Called once the form is known to be the same.

    Raises:
        RuntimeError: Tensors, modules or hooks are others than before.
    """
    tensors = _tensors(model).keys()
    modes = {name: module.training for name, module in model.named_modules()}
    hooks = _hooks(model)
    requires = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        yield
    finally:
        if odd := _tensors(model).keys() ^ tensors:
            raise RuntimeError(f"an attack left the model with other tensors: {_some(odd)}")
        if odd := dict(model.named_modules()).keys() ^ modes.keys():
            raise RuntimeError(f"an attack left the model with other modules: {_some(odd)}")
        if _hooks(model) != hooks:
            raise RuntimeError("an attack left hooks in the model")
        settle()
        for name, module in model.named_modules():
            module.training = modes[name]
        for name, parameter in model.named_parameters():
            parameter.grad = None
            parameter.requires_grad = requires[name]


def _some(names: Collection[str]) -> str:
    """Name a few, in order."""
    more = " …" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more


def _hooks(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Identities of the functions that are called around each module's forward pass."""
    return {
        name: tuple(map(id, (*m._forward_pre_hooks.values(), *m._forward_hooks.values())))
        for name, m in model.named_modules()
    }


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _digests(model: nn.Module) -> dict[str, str]:
    return {name: tensor_digest(tensor) for name, tensor in _tensors(model).items()}


def _changed(model: nn.Module, before: Mapping[str, str]) -> list[str]:
    """Names of tensors whose digests are others than before."""
    return [name for name, digest in _digests(model).items() if digest != before[name]]
