"""Weights lent to an attack, and restored exactly afterwards."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


def tensor_digest(tensor: torch.Tensor) -> str:
    """Sha256 (hex) of a tensor's type, shape and bytes."""
    sha = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    flat = tensor.detach().contiguous().cpu().reshape(-1)
    sha.update(flat.view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """Sha256 (hex) over all parameters and buffers, persistent or not, by name."""
    sha = hashlib.sha256()
    for name, tensor in sorted(_tensors(model).items()):
        sha.update(f"{name}:{tensor_digest(tensor)};".encode())
    return sha.hexdigest()


@contextmanager
def preserve_weights(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a model to change in place, and restore it afterwards.

    It is restored bit for bit.

    A copy of every tensor is kept in the machine's main memory meanwhile.

    Raises:
        RuntimeError: the attack left the model with other tensors than it got (a bug of the
            attack: whatever it wraps, it must unwrap).
    """
    before = weights_digest(model)
    kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in _tensors(model).items()}
    modes = {name: module.training for name, module in model.named_modules()}
    hooks = _hooks(model)
    requires = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        yield model
    finally:
        current = _tensors(model)
        if current.keys() != kept.keys():
            odd = sorted(current.keys() ^ kept.keys())[:3]
            raise RuntimeError(f"an attack left the model with other tensors: {', '.join(odd)} …")
        if dict(model.named_modules()).keys() != modes.keys():
            odd = sorted(dict(model.named_modules()).keys() ^ modes.keys())[:3]
            raise RuntimeError(f"an attack left the model with other modules: {', '.join(odd)} …")
        if _hooks(model) != hooks:
            raise RuntimeError("an attack left hooks in the model")
        with torch.no_grad():
            for name, tensor in current.items():
                tensor.copy_(kept[name])
        for name, module in model.named_modules():
            module.training = modes[name]
        for name, parameter in model.named_parameters():
            parameter.grad = None
            parameter.requires_grad = requires[name]
        if weights_digest(model) != before:
            raise RuntimeError("an attack changed the model in a way that could not be undone")


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


def _hooks(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Identities of the functions that are called around each module's forward pass."""
    return {
        name: tuple(map(id, (*m._forward_pre_hooks.values(), *m._forward_hooks.values())))
        for name, m in model.named_modules()
    }


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
