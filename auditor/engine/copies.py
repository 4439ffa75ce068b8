"""Whether a checkpoint is another one, saved again, rounded or with noise."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from auditor.models.checkpoint_files import quantization_method
from auditor.models.gguf_tensors import GGUFTensors
from auditor.models.manifest import Location
from auditor.models.stored_tensors import tensor_files
from auditor.models.weight_change import carried, weight_change
from auditor.statistics.weights import LEAST_CHANGE

_MATRIX = 2
_CODES = 20
"""Share of codes that change, over the relative change of a matrix: of words of eight 4-bit codes
29, of 8-bit codes 41 where weights move by a thousandth of their deviation. Ties make a copy with
noise change up to 0.7 % of the words."""
_PRECISE = 0.05
"""Largest standard error of a share of movement that is looked at."""
_ROUNDING = 0.002
"""Added to it, for rounding is not noise alone."""
_FARTHEST, _TYPICAL = 5.0, 2.0
"""Standard errors from 1, of any matrix and in the median. Of 504 copies with noise of .5 or 10 %
of a matrix or rounded to 3 or 4 bits (139 models of nine testbeds) 499 lie within both. Of 231
pairs of an honest retrained model and an unlearned one none does: nearest, with 6.0 and 3.1, are
those whose unlearned model is the base that both were trained from."""
_LEAST_MATRICES = 2
"""Matrices that must say so."""


@dataclass(frozen=True)
class Copy:
    """Finding that two checkpoints hold the same weights.

    Attributes:
        largest: Largest relative change of a matrix, rescalings aside.
        matrices: How many matrices were compared.
    """

    largest: float
    matrices: int


@dataclass(frozen=True)
class Origin:
    """Finding that a model was made from the unlearned one.

    Attributes:
        slope: Share of the unlearned model's movement that it has made, on average.
        matrices: How many matrices were compared.
    """

    slope: float
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


def _shared(*places: Location) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield the tensors that all of some models have, with their name.

    GGUF files have names of their own, and what they hold is read back from its rounding.
    """
    held = [GGUFTensors(place) if place.gguf else CheckpointTensors(place) for place in places]
    named = next((one for one in held if isinstance(one, CheckpointTensors)), held[0])

    def own(model: GGUFTensors | CheckpointTensors, name: str) -> str | None:
        if isinstance(model, GGUFTensors) and isinstance(named, CheckpointTensors):
            return model.named(name.rpartition("/")[2])
        return name if name in model else None

    for name in named:
        names = [own(model, name) for model in held]
        if None in names:
            continue
        tensors = [model.read(str(one)) for model, one in zip(held, names, strict=True)]
        found = [tensor for tensor in tensors if tensor is not None]
        if len(found) == len(tensors):
            yield name, found


def copy_of(one: Location, other: Location) -> Copy | None:
    """Compare two checkpoints, matrix by matrix, until one differs.

    Models of which one alone has an adapter, and pipelines with parts replaced, are not compared:
    what differs stands elsewhere. Both are rounded to bfloat16 and freed of rescalings first
    (`weight_change`). Models that were trained differ in some matrix by far more than rounding; a
    copy, one with noise that changes no answer, or one saved in another type differs in none.

    In quantized checkpoints codes stand for weights, and are compared as they are. Where only one
    is quantized, or each otherwise, rounding changes more than a copy may differ by (`made_from`).

    Returns:
        None where a matrix differs, or nothing can be compared.
    """
    if one.replacement or other.replacement or bool(one.adapter) != bool(other.adapter):
        return None
    quantized = [quantization_method(place.model) for place in (one, other)]
    if quantized[0] != quantized[1]:
        return None
    largest, matrices = 0.0, 0
    for name, (tensor, counterpart) in _shared(one, other):
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


def made_from(unlearned: Location, original: Location, retrained: Location) -> Origin | None:
    """Test whether a retrained model was made from the unlearned one.

    Noise and rounding move weights by chance. What they were added to still lies where unlearning
    had moved it: in every matrix the whole of that movement is found again (`carried`), within the
    error of noise. A model that was trained without the facts has made other movements, even from
    the base that the original was trained from.

    Models with adapters or replaced parts are not looked at, nor are weights that stand in codes.

    Returns:
        None where a matrix moved otherwise, or too few are measured well enough.
    """
    places = (unlearned, original, retrained)
    if any(place.adapter or place.replacement for place in places):
        return None
    slopes, deviations = [], []
    for _, tensors in _shared(*places):
        if any(t.ndim < _MATRIX or t.itemsize == 1 or not t.is_floating_point() for t in tensors):
            continue
        if len({tensor.shape for tensor in tensors}) > 1:
            continue
        found = carried(*tensors)
        if found is None or not found.error <= _PRECISE:  # nor where it is no number
            continue
        slopes.append(found.slope)
        deviations.append(abs(found.slope - 1.0) / (found.error + _ROUNDING))
        if deviations[-1] > _FARTHEST:
            return None
    if len(slopes) < _LEAST_MATRICES or statistics.median(deviations) > _TYPICAL:
        return None
    return Origin(statistics.mean(slopes), len(slopes))


def _codes_changed(ours: Tensor, theirs: Tensor) -> float | None:
    """Return the relative change of a matrix, judged by its codes.

    It is None where they are not alike in form.
    """
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return None
    return float((ours != theirs).float().mean()) / _CODES if ours.numel() else 0.0
