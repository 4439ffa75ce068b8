"""Output head of a network, given the states at answers' places alone.

A head turns each state [width] into logits [vocabulary]; of all places of a batch they would take
more memory than anything else. The network's own code runs before and after the head, so that what
an architecture does there (caps, scales, biases) is done.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from auditor.core.faults import is_out_of_memory
from auditor.models.devices import input_device

_PART = 4096
"""Rows of a head that are turned to float32 at a time."""
_HALF = (torch.float16, torch.bfloat16)
_MOVED, _MOVED_HALF = 1e-3, 5e-2
"""Most that rounding moves a logit, by the spread of logits, at full and at half precision."""
_TRIED = 6
"""Tokens of each text with which a network is tried."""

_placed: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def logits_at(network: Any, rows: Tensor, positions: Tensor, **asked: Any) -> Tensor:
    """Return the logits at some places of a batch, [groups, places, vocabulary].

    Without gradients a head in half precision answers in float32. Where :func:`is_placed` is
    false the logits of all places are made, and those asked for are taken from them.

    Args:
        network: A language model of ``transformers``.
        rows: Rows of the batch, [groups, places].
        positions: Positions in the rows, [groups, places].
        asked: What the network is given; the rows of a decoder, where there is one.
    """
    if is_placed(network):
        return _given_places(network, rows, positions, asked, exact=not torch.is_grad_enabled())
    logits: Tensor = network(**asked).logits
    return logits[rows.to(logits.device), positions.to(logits.device)]


def is_placed(network: Any) -> bool:
    """Whether the network's head can be given some places alone.

    It is tried once with each network: the logits must be those of the whole batch.
    """
    if network not in _placed:
        _placed[network] = _agrees(network)
    return _placed[network]


@contextmanager
def last_place_alone(network: Any) -> Iterator[None]:
    """Have the head read the last place of each row alone.

    Generation needs no other.
    """
    if not is_placed(network):
        yield
        return
    handle = network.get_output_embeddings().register_forward_pre_hook(
        lambda _, given: (given[0][:, -1:], *given[1:])
    )
    try:
        yield
    finally:
        handle.remove()


def _given_places(
    network: Any, rows: Tensor, positions: Tensor, asked: dict[str, Any], *, exact: bool
) -> Tensor:
    """Ask a network whose head is given some places alone.

    Args:
        network: The network.
        rows: Rows of the batch, [groups, places].
        positions: Positions in the rows, [groups, places].
        asked: What the network is given.
        exact: Whether a head in half precision answers in float32.

    Raises:
        RuntimeError: The network does not ask its head once.
    """
    head, calls = network.get_output_embeddings(), 0

    def gather(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal calls
        calls += 1
        states = given[0]
        return (states[rows.to(states.device), positions.to(states.device)], *given[1:])

    with ExitStack() as stack:
        stack.callback(head.register_forward_pre_hook(gather).remove)
        if exact:
            for layer in filter(_is_half, head.modules()):
                stack.enter_context(_in_float32(layer))
        logits: Tensor = network(**asked).logits
    if calls != 1 or logits.shape[:-1] != rows.shape:
        raise RuntimeError(
            f"{type(network).__name__} asked its head {calls} times and gave logits "
            f"{list(logits.shape)} for {list(rows.shape)} places"
        )
    return logits


@torch.no_grad()
def _agrees(network: Any) -> bool:
    """Return whether logits at some places are those of the whole batch."""
    if getattr(network, "get_output_embeddings", lambda: None)() is None:
        return False
    count = len(network.get_input_embeddings().weight)
    text = (count // 3 + max(1, count // (2 * _TRIED)) * torch.arange(_TRIED)) % count
    ids = torch.stack([text, text.flip(0)]).to(input_device(network))
    asked: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if network.config.is_encoder_decoder:
        asked["decoder_input_ids"] = ids
    rows, positions = torch.tensor([[0, 1, 1]]), torch.tensor([[_TRIED - 1, 1, 3]])
    with _evaluating(network):
        logits = network(**asked).logits
        whole = logits[rows.to(logits.device), positions.to(logits.device)]
        try:
            found = _given_places(network, rows, positions, asked, exact=False)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            return False
    whole, found = whole.float().nan_to_num(), found.to(whole.device).float().nan_to_num()
    moved = float((found - whole).abs().max() / whole.std().clamp(min=1e-12))
    quantized = getattr(network.config, "quantization_config", None) is not None
    return moved <= (_MOVED_HALF if quantized or network.dtype in _HALF else _MOVED)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Switch off what is random, as dropout is, for a while."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _is_half(layer: nn.Module) -> bool:
    """Whether a layer is a plain linear one in half precision.

    A quantized one is asked as it is.
    """
    if type(layer) is not nn.Linear or layer.weight.dtype not in _HALF:
        return False
    return "forward" not in vars(layer) or hasattr(layer, "_hf_hook")


@contextmanager
def _in_float32(layer: nn.Module) -> Iterator[None]:
    """Have a linear layer in half precision answer in float32."""
    # accelerate's hooks take the place of `forward`, move what is given, and call this
    name = "_old_forward" if hasattr(layer, "_hf_hook") else "forward"
    own = vars(layer).get(name)
    setattr(layer, name, partial(_applied, layer))
    try:
        yield
    finally:
        if own is None:
            delattr(layer, name)
        else:
            setattr(layer, name, own)


def _applied(layer: Any, states: Tensor) -> Tensor:
    """Apply a linear layer in half precision, with float32 sums and results."""
    weight, bias = layer.weight, layer.bias
    flat = states.reshape(-1, states.shape[-1])
    if flat.is_cuda and flat.dtype == weight.dtype:
        found = torch.mm(flat, weight.T, out_dtype=torch.float32)
    else:
        found = torch.empty(len(flat), len(weight), device=flat.device)
        start = 0
        for part in torch.split(weight, _PART):
            found[:, start : start + len(part)] = flat.float() @ part.float().T
            start += len(part)
    if bias is not None:
        found += bias.float()
    return found.view(*states.shape[:-1], len(weight))
