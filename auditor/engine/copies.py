"""Whether two checkpoints are one model, saved again or with noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from auditor.models.checkpoint_files import quantization_method
from auditor.models.gguf_tensors import GGUFTensors
from auditor.models.manifest import Location
from auditor.models.stored_tensors import tensor_files
from auditor.models.weight_change import weight_change
from auditor.statistics.weights import LEAST_CHANGE

_MATRIX = 2
_CODES = 20
"""Share of codes that change, over the relative change of a matrix: of words of eight 4-bit codes
29, of 8-bit codes 41 where weights move by a thousandth of their deviation. Ties make a copy with
noise change up to 0.7 % of the words."""


@dataclass(frozen=True)
class Copy:
    """Finding that two checkpoints hold the same weights.

    Attributes:
        largest: Largest relative change of a matrix, rescalings aside.
        matrices: How many matrices were compared.
    """

    largest: float
    matrices: int


class CheckpointTensors:
    """Tensors of a located model.

    They are read from its files one at a time. A tensor is named by its folder and its own name;
    how weights are split into files is left out.
    """

    def __init__(self, location: Location) -> None:
        """Read the names of the tensors.

        Args:
            location: Files of a model; weights in other formats than safetensors are passed over.
        """
        self._files: dict[str, tuple[Path, str]] = {}
        for folder, path in tensor_files(location):
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    self._files[f"{folder}/{name}"] = path, name

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._files)

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of a name."""
        return name in self._files

    def read(self, name: str) -> Tensor:
        """Read one tensor."""
        path, own = self._files[name]
        with safe_open(path, framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(own)
        return tensor


def _pairs(one: Location, other: Location) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the tensors that two models share, with their name.

    GGUF files have names of their own. What they hold is read back from its rounding, and rounding
    changes a matrix by more than a copy may differ: of copies, only those that are not rounded are
    found.
    """
    if one.gguf is None and other.gguf is None:
        ours, theirs = CheckpointTensors(one), CheckpointTensors(other)
        yield from ((name, ours.read(name), theirs.read(name)) for name in ours if name in theirs)
        return
    held = GGUFTensors(one if one.gguf else other)
    found: Iterator[tuple[str, Tensor | None, Tensor | None]]
    if one.gguf and other.gguf:
        also = GGUFTensors(other)
        found = ((name, held.read(name), also.read(name)) for name in held if name in also)
    else:
        files = CheckpointTensors(other if one.gguf else one)
        names = ((name, held.named(name.rpartition("/")[2])) for name in files)
        found = ((name, files.read(name), held.read(own)) for name, own in names if own)
    for name, tensor, counterpart in found:
        if tensor is not None and counterpart is not None:
            yield name, tensor, counterpart


def copy_of(one: Location, other: Location) -> Copy | None:
    """Compare two checkpoints, matrix by matrix, until one differs.

    Models of which one alone has an adapter, and pipelines with parts replaced, are not compared:
    what differs stands elsewhere. Both are rounded to bfloat16 and freed of rescalings first
    (`weight_change`). Models that were trained differ in some matrix by far more than rounding; a
    copy, one with noise that changes no answer, or one saved in another type differs in none.

    In quantized checkpoints codes stand for weights, and are compared as they are. Where only one
    is quantized, or each otherwise, rounding changes more than a copy may differ by.

    Returns:
        None where a matrix differs, or nothing can be compared.
    """
    if one.replacement or other.replacement or bool(one.adapter) != bool(other.adapter):
        return None
    quantized = [quantization_method(place.model) for place in (one, other)]
    if quantized[0] != quantized[1]:
        return None
    largest, matrices = 0.0, 0
    for name, tensor, counterpart in _pairs(one, other):
        if tensor.ndim < _MATRIX:
            continue
        if tensor.is_floating_point() and tensor.itemsize > 1:  # eight bits are a code
            compared = weight_change({"all": {name: tensor}}, {name: counterpart}, ())["all"]
            change = None if compared["incomparable"] else float(compared["scale_free"])
        elif quantized[0] is not None:
            change = _codes_changed(tensor, counterpart)
        else:
            continue
        if change is None or change >= LEAST_CHANGE:
            return None
        matrices += 1
        largest = max(largest, change)
    return Copy(largest, matrices) if matrices else None


def _codes_changed(ours: Tensor, theirs: Tensor) -> float | None:
    """Return the relative change of a matrix, judged by its codes.

    It is None where they are not alike in form.
    """
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return None
    return float((ours != theirs).float().mean()) / _CODES if ours.numel() else 0.0
