"""Memory that models need, and memory that is free."""

import gc
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import psutil
import torch
from torch import nn

from auditor.core.errors import DoesNotFitError
from auditor.core.faults import is_out_of_memory
from auditor.models.gguf_header import read_header
from auditor.models.manifest import Location
from auditor.models.spec import ModelSpec
from auditor.models.stored_tensors import stored_tensors


def release_memory(let_go: Iterable[weakref.ref[object]] | None = None) -> None:
    """Give back what nothing refers to any more.

    Args:
        let_go: What is meant. Where all of it is gone by the count of its references, no garbage is
            searched for the rest, which takes half a second beside these libraries.
    """
    if let_go is None or any(item() is not None for item in let_go):
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def weak_references(networks: Iterable[nn.Module]) -> list[weakref.ref[object]]:
    """Refer to the modules and weights of networks without keeping them alive."""
    return [
        weakref.ref(item)
        for network in networks
        for item in chain(network.modules(), network.parameters(), network.buffers())
    ]


@contextmanager
def loaded_whole(spec: ModelSpec, location: Location) -> Iterator[None]:
    """Tell weights that do not fit from other faults of loading.

    Raises:
        DoesNotFitError: Memory ran out.
    """
    if torch.cuda.is_available():  # what the last model left there may be all that is in the way
        release_memory()
    free = free_memory(spec.device_map)
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        needed = weights_memory(spec, location)
        raise DoesNotFitError(str(location.model), needed, free) from error


def weights_memory(spec: ModelSpec, location: Location) -> int:
    """Return the bytes that a model's weights take once they are loaded.

    Those of files in other formats than safetensors are taken for as many as the files have.
    """
    wanted = None if spec.dtype == "auto" else getattr(torch, spec.dtype).itemsize
    if location.gguf is not None:
        header = read_header(location.gguf)
        each: int = wanted or getattr(torch, header.float_type).itemsize
        return each * sum(header.sizes.values())
    stored = stored_tensors(location).values()
    if not stored:
        return sum(
            (location.model / name).stat().st_size
            for name in location.manifest.files
            if (location.model / name).is_file()
        )
    return sum(
        tensor.size * wanted if wanted and tensor.is_float else tensor.end - tensor.begin
        for tensor in stored
    )


def room_for_states(gpus: Sequence[int]) -> int:
    """Return the bytes that states beside a network may take.

    It is a power of two, at most half of what is free, so that what differs a little between two
    runs makes no other batches.

    Args:
        gpus: Numbers of the GPUs that hold the network; by default it is in the main memory.
    """
    each = [
        torch.cuda.mem_get_info(gpu)[0]
        + torch.cuda.memory_reserved(gpu)
        - torch.cuda.memory_allocated(gpu)
        for gpu in gpus
    ]
    free = len(each) * min(each) if each else int(psutil.virtual_memory().available)
    return 1 << max(0, (free // 2).bit_length() - 1)


def free_memory(device_map: str | None) -> int:
    """Return the bytes that are free where a model is put.

    Args:
        device_map: As in a model's spec.
    """
    kind, _, number = (device_map or "cuda").partition(":")
    if kind == "cpu" or not torch.cuda.is_available():
        return int(psutil.virtual_memory().available)
    devices = [int(number or 0)] if kind == "cuda" else range(torch.cuda.device_count())
    return sum(torch.cuda.mem_get_info(device)[0] for device in devices)
