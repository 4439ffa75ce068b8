"""Devices of networks."""

import itertools
from typing import Any

import torch
from torch import nn


def first_device() -> torch.device:
    """The first GPU, or the CPU where there is none."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def gpus_of(network: nn.Module) -> list[int]:
    """Return the numbers of the GPUs that hold a network.

    A state of random numbers that is kept of any other GPU would open a context on it.
    """
    tensors = itertools.chain(network.parameters(), network.buffers())
    return sorted({tensor.device.index for tensor in tensors if tensor.device.type == "cuda"})


def input_device(network: Any) -> torch.device:
    """Return the device on which a network takes token ids.

    Embeddings that are offloaded are brought to it for each pass.
    """
    embeddings = network.get_input_embeddings()
    device: torch.device = embeddings.weight.device
    if device.type != "meta":
        return device
    hook = getattr(embeddings, "_hf_hook", None)
    for one in getattr(hook, "hooks", [hook]):
        if (place := getattr(one, "execution_device", None)) is not None:
            return torch.device(place)
    return device
