"""Tensors of a model's safetensors files, read in pieces without torch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auditor.core.errors import AuditorError
from auditor.models.manifest import Location, file_of

_ENDING = ".safetensors"
_LENGTH = 8
"""Bytes at the beginning of a file that say how long its header is."""
_LONGEST = 100_000_000
"""Bytes of the longest header, as in the format's own library."""
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
}
"""Numpy type of each type of the format that has one; bfloat16 is read as its bits."""
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class StoredTensor:
    """Place of a tensor in a file.

    Attributes:
        file: the file.
        type: its type, as the format calls it.
        shape: its shape.
        begin: place of its first byte in the file.
        end: place after its last.
    """

    file: Path
    type: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_float(self) -> bool:
        """Whether its entries are floating-point numbers that are read."""
        return self.type in _FLOATS

    def pieces(self, length: int) -> Iterator[npt.NDArray[np.generic]]:
        """Yield its entries in order.

        They are float32 where they are floating-point numbers, and bytes where numpy has no such
        type.

        Args:
            length: entries of each piece.
        """
        kind = np.dtype(_TYPES.get(self.type, "u1"))
        count = (self.end - self.begin) // kind.itemsize
        with self.file.open("rb") as opened:
            opened.seek(self.begin)
            for first in range(0, count, length):
                read = np.fromfile(opened, kind, min(length, count - first))
                yield _single(read, self.type) if self.is_float else read


def tensor_files(location: Location) -> Iterator[tuple[str, Path]]:
    """Yield safetensors files of a located model with their folders' names."""
    for file in location.manifest.files:
        if file.endswith(_ENDING):
            yield file.rpartition("/")[0], file_of(location, file)


def stored_tensors(location: Location) -> dict[str, StoredTensor]:
    """Return the tensors of a located model by folder and name.

    How weights are split into files is left out. Weights in other formats are passed over.

    Raises:
        AuditorError: A file is not whole.
    """
    found: dict[str, StoredTensor] = {}
    for folder, path in tensor_files(location):
        for name, tensor in header(path).items():
            found[f"{folder}/{name}"] = tensor
    return found


def header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors that a safetensors file's header lists.

    Raises:
        AuditorError: The header is none, or places a tensor outside of the file.
    """
    try:
        with path.open("rb") as opened:
            length = int.from_bytes(opened.read(_LENGTH), "little")
            listed = json.loads(opened.read(min(length, _LONGEST)))
        listed.pop("__metadata__", None)
        found = {name: _listed(path, _LENGTH + length, said) for name, said in listed.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _not_whole(path) from error
    size = path.stat().st_size
    if not all(_LENGTH <= t.begin <= t.end <= size for t in found.values()):
        raise _not_whole(path)
    return found


def _listed(path: Path, start: int, said: Mapping[str, Any]) -> StoredTensor:
    begin, end = (start + int(place) for place in said["data_offsets"])
    return StoredTensor(path, str(said["dtype"]), tuple(map(int, said["shape"])), begin, end)


def _not_whole(path: Path) -> AuditorError:
    return AuditorError(f"{path} is not a whole safetensors file. Copy or download it again.")


def _single(read: npt.NDArray[np.generic], kind: str) -> npt.NDArray[np.float32]:
    """Floating-point numbers as float32."""
    if kind != "BF16":
        return read.astype(np.float32)
    return (read.astype(np.uint32) << 16).view(np.float32)
