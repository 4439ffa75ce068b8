"""Memory and speed of a machine, measured or stated."""

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditor.core.errors import AuditorError
from auditor.core.reading import SETTINGS, read_regular
from auditor.core.reading_yaml import parse_yaml
from auditor.core.validation import problems
from auditor.engine.environment import device_of
from auditor.models.shape import Shape
from auditor.models.spec import ModelSpec
from auditor.store.environment import CPU

GB = 10**9
_EFFICIENCY = 0.5
"""Share of a matrix product's speed that whole forward passes are taken to reach."""
_ROWS = (16, 128, 1024)
"""Rows of the products that are timed: more while that takes no time, for a processor without
instructions of a half type is thousands of times slower with it."""
_NARROWEST, _WIDEST = 64, 4096
"""Columns of the products that are timed, at least and at most."""
_HALF = 2
"""Bytes of a half type."""
_DRAWN = 16
"""Bytes that go through memory for a weight that is drawn or rounded."""
_LOADING = 1e9
"""Bytes a second that weights are taken to be loaded with; the disk is not tried."""
_SECONDS = 0.5
"""Seconds at most of each measurement of speed, once it has begun."""
_NUMBERS = 1 << 21
_IMPORTED_LATER = 150_000_000
"""Bytes of libraries that an audit imports after it was planned, for statistics and reports."""


class Card(NamedTuple):
    """Figures that the maker of an accelerator publishes."""

    memory: int
    """Bytes."""
    operations: float
    """Operations a second of dense products in bfloat16."""
    bandwidth: float
    """Bytes a second from its memory."""


CARDS = {
    "RTX4090": Card(24 * GB, 165e12, 1.01e12),
    "A100-40GB": Card(40 * GB, 312e12, 1.56e12),
    "L40S": Card(48 * GB, 362e12, 0.86e12),
    "A100": Card(80 * GB, 312e12, 2.04e12),
    "H100": Card(80 * GB, 989e12, 3.35e12),
    "H200": Card(141 * GB, 989e12, 4.8e12),
}
"""Accelerators whose speed is known by name; a machine of others is stated in a file."""
_STATED = re.compile(r"(?P<count>\d{1,4})x(?P<card>[A-Za-z0-9-]+)")
_MEMORY = re.compile(r"(?P<size>\d{1,4})GB", re.IGNORECASE)


class Machine(NamedTuple):
    """Memory and speed of a machine."""

    name: str
    gpus: tuple[int, ...]
    """Free bytes of each accelerator; empty where there is none."""
    host: int | None
    """Free bytes of main memory; None where that is not known."""
    disk: int | None
    """Free bytes of the disk with the evidence; None where that is not known."""
    operations: float
    """Operations a second of whole forward passes."""
    bandwidth: float
    """Bytes a second that one pass reads weights with."""
    overhead: float
    """Seconds that the least operation takes."""
    hashing: float
    """Bytes a second that are hashed."""
    drawing: float
    """Weights a second that are drawn, rounded or unpacked."""
    loading: float
    """Bytes a second that weights are loaded with."""
    libraries: int = 0
    """Bytes of main memory that a process takes without any model; 0 where that is not known."""
    stated: bool = False
    """Whether it is stated rather than measured."""

    def memory(self, device_map: str | None) -> int | None:
        """Return the free bytes where a model is put.

        None means that they are not known.

        Args:
            device_map: As in a model's spec. By default a model is put on one accelerator.
        """
        kind, _, number = (device_map or "cuda:0").partition(":")
        if not self.gpus or kind == "cpu":
            return self.host
        if kind == "cuda":
            place = int(number or 0)
            return self.gpus[place] if place < len(self.gpus) else 0
        return sum(self.gpus)

    def spreads(self, device_map: str | None) -> bool:
        """Whether a model is put on several accelerators.

        Args:
            device_map: As in a model's spec.
        """
        kind = (device_map or "cuda").partition(":")[0]
        return len(self.gpus) > 1 and kind not in ("cpu", "cuda")


class _Stated(BaseModel):
    """A machine as a file states it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "stated"
    gpus: int = Field(ge=0, le=10_000)
    gpu_memory: float = Field(default=0, ge=0)
    """GB of each."""
    host_memory: float | None = Field(default=None, gt=0)
    """GB."""
    disk: float | None = Field(default=None, gt=0)
    """GB."""
    teraflops: float = Field(gt=0)
    """Published speed of dense products in bfloat16."""
    bandwidth: float = Field(gt=0)
    """Published GB a second of the memory."""


def stated(text: str) -> Machine:
    """Return a machine that is stated by a text or a file.

    Args:
        text: ``8xH100``, ``1x80GB`` (the slowest card of that memory), or the path of a YAML file.

    Raises:
        AuditorError: It is none of these.
    """
    found = _STATED.fullmatch(text)
    if found is None:
        return _from_file(text)
    count, name = int(found["count"]), found["card"]
    if memory := _MEMORY.fullmatch(name):
        size = int(memory["size"]) * GB
        fitting = [card for card in CARDS.values() if card.memory >= size] or [*CARDS.values()]
        slowest = min(fitting, key=lambda card: (card.memory, card.operations))
        card = slowest._replace(memory=size)
    elif name.upper() in CARDS:
        card = CARDS[name.upper()]
    else:
        raise AuditorError(
            f"--machine {text}: the card {name} is not known; known are {', '.join(CARDS)}. Say "
            "its memory (`1x80GB`), or give a YAML file with gpus, gpu_memory, teraflops and "
            "bandwidth."
        )
    if not count:
        raise AuditorError(f"--machine {text}: a machine needs one card at least.")
    return _of_card(text, card, count)


def _from_file(text: str) -> Machine:
    """Read a machine from a YAML file."""
    try:
        content = parse_yaml(read_regular(Path(text), SETTINGS).decode())
        given = _Stated.model_validate(content)
    except ValidationError as error:
        listed = "; ".join(problems(error, model=_Stated))
        raise AuditorError(f"{text} states no machine: {listed}.") from error
    except (OSError, ValueError) as error:
        raise AuditorError(
            f"--machine {text} is neither a count with a card (`8xH100`) or its memory (`1x80GB`) "
            f"nor a YAML file that can be read ({error})."
        ) from error
    card = Card(round(given.gpu_memory * GB), given.teraflops * 1e12, given.bandwidth * GB)
    host, disk = (None if v is None else round(v * GB) for v in (given.host_memory, given.disk))
    return _of_card(given.name, card, given.gpus)._replace(host=host, disk=disk)


def _of_card(name: str, card: Card, count: int) -> Machine:
    """Return a machine of accelerators by their published figures.

    Launches are taken to last 10 microseconds, hashing 1.8 GB/s, loading 2 GB/s.
    """
    return Machine(
        name=name,
        gpus=(card.memory,) * count,
        host=None,
        disk=None,
        operations=_EFFICIENCY * card.operations,
        bandwidth=_EFFICIENCY * card.bandwidth,
        overhead=1e-5,
        hashing=1.8e9,
        drawing=_EFFICIENCY * card.bandwidth / _DRAWN,
        loading=2e9,
        stated=True,
    )


def free_memory(spec: ModelSpec, folder: Path) -> Machine:
    """Return the free memory of this machine; no speed is measured.

    Args:
        spec: How the models are opened.
        folder: Folder of the evidence, on whose disk scratch files are written.
    """
    name = device_of(spec)
    return Machine(
        name=name,
        gpus=() if name == CPU else _free(),
        host=psutil.virtual_memory().available + psutil.swap_memory().free,
        disk=shutil.disk_usage(_existing(folder)).free,
        operations=1.0,
        bandwidth=1.0,
        overhead=0.0,
        hashing=1.0,
        drawing=1.0,
        loading=1.0,
    )


def probe(spec: ModelSpec, shape: Shape, folder: Path) -> Machine:
    """Measure this machine, in a few seconds at most.

    Args:
        spec: How the models are opened.
        shape: Their shape, of whose width and type products are timed.
        folder: Folder of the evidence, on whose disk scratch files are written.
    """
    found = free_memory(spec, folder)
    device = torch.device("cuda" if found.gpus else "cpu")
    dtype = torch.float32 if shape.itemsize > _HALF else torch.bfloat16
    width = min(max(shape.width, _NARROWEST), _WIDEST)
    matrix = torch.ones(width, width, device=device, dtype=dtype)
    weights = torch.ones(_NUMBERS * (16 if found.gpus else 1), device=device)
    one, content = torch.ones(1, device=device), bytes(8 << 20)
    return found._replace(
        operations=_EFFICIENCY * _product_speed(matrix, device),
        bandwidth=2 * weights.nbytes * _rate(lambda: weights.clone(), device),
        overhead=1 / _rate(lambda: one + one, device),
        hashing=len(content) * _rate(lambda: hashlib.sha256(content), device),
        drawing=_NUMBERS * _rate(lambda: torch.randn(_NUMBERS, device=device), device),
        loading=_LOADING,
        libraries=psutil.Process().memory_info().rss + _IMPORTED_LATER,
    )


def _free() -> tuple[int, ...]:
    """Free bytes of each accelerator."""
    torch.cuda.empty_cache()
    return tuple(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())


def _product_speed(matrix: torch.Tensor, device: torch.device) -> float:
    """Operations a second of products with a square matrix.

    They have as many rows as time allows.
    """
    best, width = 0.0, len(matrix)
    for rows in _ROWS:
        states = torch.ones(rows, width, device=device, dtype=matrix.dtype)
        began = time.perf_counter()
        best = max(best, 2 * rows * width**2 * _rate(partial(torch.matmul, states, matrix), device))
        if time.perf_counter() - began > _SECONDS:
            break
    return best


def _rate(work: Callable[[], object], device: torch.device) -> float:
    """Times a second that some work is done, at best."""
    best, began = float("inf"), time.perf_counter()
    work()
    for repetitions in (1, 4, 16, 64, 256):
        _finish(device)
        start = time.perf_counter()
        for _ in range(repetitions):
            work()
        _finish(device)
        end = time.perf_counter()
        best = min(best, (end - start) / repetitions)
        if end - began > _SECONDS / 4:
            break
    return 1 / best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
