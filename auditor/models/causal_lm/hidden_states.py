"""Residual stream of a decoder: where it is read and changed.

Layer l (1 to L) names the stream as the l-th decoder layer leaves it, before any final norm;
that of layer 0 are the embeddings.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from auditor.core.errors import MeasurementError, UnavailableError
from auditor.models.batching import run_batched
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.prompting import Encoded
from auditor.models.language.output_head import logits_at

States = npt.NDArray[np.float32]
"""Hidden states [positions, width]."""

Change = Callable[[torch.Tensor], torch.Tensor]
"""Function that takes a stream [batch, time, width] and returns its replacement."""


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the decoder layers, first to last.

    They are the longest list of modules of one class.

    Raises:
        UnavailableError: the model keeps its layers in another way.
    """
    lists = [
        list(module)
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1
    ]
    if not lists:
        raise UnavailableError("the model has no list of decoder layers to read hidden states from")
    return max(lists, key=len)


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most ``most`` evenly spaced layers of 1 to ``count``.

    The last layer is among them.
    """
    return sorted({round(count * (index + 1) / most) for index in range(most)} - {0})


@contextmanager
def changed(module: nn.Module, change: Change, *, incoming: bool = False) -> Iterator[None]:
    """Change the output of a module while the context lasts.

    With ``incoming`` its first input is changed instead.
    """

    def before(_: nn.Module, arguments: tuple[object, ...]) -> tuple[object, ...]:
        return _first_changed(arguments, change)

    def after(_: nn.Module, __: tuple[object, ...], output: object) -> object:
        if isinstance(output, torch.Tensor):
            return change(output)
        if isinstance(output, tuple):
            return _first_changed(output, change)
        raise UnavailableError(
            f"{type(module).__name__} returns {type(output).__name__}, not a tensor"
        )

    handle = (
        module.register_forward_pre_hook(before)
        if incoming
        else module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()


def hidden_states(
    model: CausalLM, items: Sequence[Encoded], layers: Sequence[int]
) -> list[dict[int, States]]:
    """Return the states from which each item's answer is predicted.

    They are the residual stream at the answer's positions, less one.

    Args:
        model: model whose states are read.
        items: token ids, and the positions of the answer's tokens (each at least 1).
        layers: 1 to L.

    Returns:
        For each item its states by layer, [answer tokens, width] in float32.

    Raises:
        MeasurementError: a state is not finite.
    """
    modules = decoder_layers(model.network)

    def run(batch: list[int]) -> list[dict[int, States]]:
        seen: dict[int, torch.Tensor] = {}

        def reader(layer: int) -> Change:
            def read(stream: torch.Tensor) -> torch.Tensor:
                seen[layer] = stream.detach()
                return stream

            return read

        with ExitStack() as hooks:
            for layer in layers:
                hooks.enter_context(changed(modules[layer - 1], reader(layer)))
            _read(model, [items[i].ids for i in batch])
        found = []
        for row, index in enumerate(batch):
            places = torch.tensor(items[index].answer) - 1
            states = {
                layer: seen[layer][row, places.to(seen[layer].device)].float().cpu().numpy()
                for layer in layers
            }
            if not all(np.isfinite(state).all() for state in states.values()):
                raise MeasurementError("a hidden state is not finite")
            found.append(states)
        return found

    return run_batched([len(item.ids) for item in items], model.token_budget, run)


@torch.inference_mode()
def _read(model: CausalLM, rows: Sequence[list[int]]) -> None:
    """Pass one batch through the layers.

    Of logits those of one place are made.
    """
    ids, mask = model.padded(rows)
    place = torch.zeros(1, 1, dtype=torch.long)
    logits_at(model.network, place, place, input_ids=ids, attention_mask=mask, use_cache=False)
    model.meter.forward_tokens += ids.numel()


def _first_changed(values: tuple[object, ...], change: Change) -> tuple[object, ...]:
    first = values[0] if values else None
    if not isinstance(first, torch.Tensor):
        raise UnavailableError("a decoder layer does not take or give its stream first")
    return (change(first), *values[1:])
