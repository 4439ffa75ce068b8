"""Devices of networks."""

import itertools

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
