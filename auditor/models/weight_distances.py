"""Distances between the weights of several models, read from their files alone.

A piece of one tensor is held at a time, so that models of any size are compared in little memory
and without torch; each file is read once for all pairs. Of large models a sample of the tensors is
read: in the order of a digest over the tensor's name and a seed, as many as the budget allows. What
is not read can be guessed by nobody before the seed is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations

import numpy as np
import numpy.typing as npt

from auditor.core.progress import Progress
from auditor.models.manifest import Location
from auditor.models.stored_tensors import StoredTensor, stored_tensors

BUDGET = 2**28
"""Numbers of each pair of models that are compared at most, but for the tensor that exceeds it."""
_PIECE = 2**20
_BLOCK = 64
"""Numbers that share a scale, as in the usual 4-bit formats."""
_LARGEST_CODE = 7
_MATRIX = 2

Array = npt.NDArray[np.generic]
Tensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class WeightDistance:
    """Distance between the weights of two models.

    Attributes:
        one: name of a model.
        other: name of the model that the distance is relative to.
        shared: tensors of equal name and shape.
        compared: those of them that were read.
        equal: those of them whose numbers are equal.
        change: Frobenius norm of the difference as a share of the other's; None where there is
            nothing to compare, or a number is not finite.
        flips: share of the numbers of matrices whose 4-bit code differs (15 levels, rounded to
            nearest, a scale for each 64 numbers); None where there is no matrix.
    """

    one: str
    other: str
    shared: int
    compared: int
    equal: int
    change: float | None
    flips: float | None


def weight_distances(
    locations: Mapping[str, Location], seed: str, progress: Progress, budget: int = BUDGET
) -> tuple[WeightDistance, ...]:
    """Compare the weights of each pair of models.

    Args:
        locations: models by name; of each pair, the earlier is compared with the later.
        seed: decides which tensors are read where not all are.
        progress: is told how far it has come.
        budget: numbers that are read at most of each pair.

    Raises:
        AuditorError: a file is not whole.
    """
    held = {name: stored_tensors(location) for name, location in locations.items()}
    sums = {
        (one, other): _Sums(*_sample(held[one], held[other], seed, budget))
        for one, other in combinations(held, 2)
    }
    names = dict.fromkeys(name for pair in sums.values() for name in pair.names)
    with progress.task("comparing the weights of the models", len(names)) as advance:
        for name in names:
            pairs = {pair: found for pair, found in sums.items() if name in found.names}
            for tensors in _alike({arm: held[arm][name] for pair in pairs for arm in pair}):
                _compare(
                    tensors, {p: found for p, found in pairs.items() if tensors.keys() >= {*p}}
                )
            advance(1, name)
    return tuple(found.distance(*pair) for pair, found in sums.items())


def _sample(one: Tensors, other: Tensors, seed: str, budget: int) -> tuple[frozenset[str], int]:
    """Return names of the tensors to be read, and their number."""
    shared = [name for name, tensor in one.items() if _comparable(tensor, other.get(name))]
    shared.sort(key=lambda name: sha256(f"{seed} {name}".encode()).digest())
    read, chosen = 0, []
    for name in shared:
        if read >= budget:
            break
        chosen.append(name)
        read += one[name].size
    return frozenset(chosen), len(shared)


def _comparable(one: StoredTensor, other: StoredTensor | None) -> bool:
    return other is not None and _form(one) == _form(other)


def _form(tensor: StoredTensor) -> tuple[tuple[int, ...], str]:
    """Shape and type; floating-point numbers are compared whatever their type."""
    return tensor.shape, "float" if tensor.is_float else tensor.type


def _alike(tensors: Tensors) -> list[dict[str, StoredTensor]]:
    """Return the tensors of one name in groups that can be compared."""
    groups: dict[tuple[tuple[int, ...], str], dict[str, StoredTensor]] = {}
    for arm, tensor in tensors.items():
        groups.setdefault(_form(tensor), {})[arm] = tensor
    return list(groups.values())


@dataclass
class _Sums:
    """Sums over the tensors of a pair that were read so far."""

    names: frozenset[str]
    shared: int
    equal: int = 0
    moved: float = 0.0
    size: float = 0.0
    coded: int = 0
    flipped: int = 0
    floats: int = 0

    def distance(self, one: str, other: str) -> WeightDistance:
        """Return what the sums come to."""
        change = None
        if self.floats and np.isfinite(self.moved) and np.isfinite(self.size):
            change = (self.moved / self.size) ** 0.5 if self.size else float(self.moved > 0)
        flips = self.flipped / self.coded if self.coded else None
        return WeightDistance(one, other, self.shared, len(self.names), self.equal, change, flips)


def _compare(tensors: Tensors, pairs: Mapping[tuple[str, str], _Sums]) -> None:
    """Add a tensor of one form to the sums of its pairs."""
    differs: set[tuple[str, str]] = set()
    first = next(iter(tensors.values()))
    coded = first.is_float and len(first.shape) >= _MATRIX
    for pieces in zip(*(tensor.pieces(_PIECE) for tensor in tensors.values()), strict=True):
        read = dict(zip(tensors, pieces, strict=True))
        codes = {arm: _codes(piece) for arm, piece in read.items()} if coded else {}
        for pair, found in pairs.items():
            one, other = (read[arm] for arm in pair)
            if not np.array_equal(one, other):
                differs.add(pair)
            if first.is_float:
                found.floats += one.size
                found.size += _square(other)
                found.moved += _square(one - other) if pair in differs else 0.0
            if coded:
                found.coded += one.size
                found.flipped += int(np.count_nonzero(codes[pair[0]] != codes[pair[1]]))
    for pair, found in pairs.items():
        found.equal += pair not in differs


def _square(numbers: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sum(np.square(numbers, dtype=np.float64)))


def _codes(numbers: Array) -> npt.NDArray[np.int8]:
    """Return 4-bit codes of numbers, with a scale for each block."""
    whole = np.zeros(-(-numbers.size // _BLOCK) * _BLOCK, np.float32)
    whole[: numbers.size] = np.nan_to_num(numbers)
    blocks = whole.reshape(-1, _BLOCK)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    scale = np.divide(_LARGEST_CODE, largest, out=np.zeros_like(largest), where=largest > 0)
    with np.errstate(over="ignore", invalid="ignore"):
        codes: npt.NDArray[np.int8] = np.rint(blocks * scale).astype(np.int8)
    return codes.reshape(-1)
