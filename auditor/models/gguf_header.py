"""Headers of GGUF files, checked before any library reads them.

A file of llama.cpp holds a model whole: settings, tokenizer, chat template and weights. Its header
is what the libraries believe, so that it is read here first, within bounds that no model of today
comes near, and refused where it contradicts itself or the file.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, Any

from auditor.core.errors import AuditorError
from auditor.core.extras import missing_extra
from auditor.core.reading import open_regular

SUFFIX = ".gguf"
"""Ending of the names of such files."""
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""Number of each type of a value of fixed size to its letter in `struct`."""
_LONGEST = 128 * 2**20
"""Most bytes of a header."""
_TEXT, _WORD = 4 * 2**20, 1024
"""Most bytes of a text (a chat template), and of one in a list (a token)."""
_MOST_KEYS, _MOST_TENSORS, _MOST_ENTRIES = 10_000, 100_000, 2_000_000
"""Most settings, tensors, and entries of all lists (tokens, their scores, merges)."""
_MOST_DIMENSIONS = 4
_ALIGNMENT, _LARGEST_ALIGNMENT = 32, 2**16
"""Bytes to whose multiples tensors are placed where the header says nothing, and the most."""
_PLAIN = {"F64", "F32", "F16", "BF16"}
"""Types of tensors that are not rounded."""


@dataclass(frozen=True)
class GGUFTensor:
    """Place of a tensor in a file.

    Attributes:
        type: Its type, as ggml calls it.
        shape: Its shape, rows first, as in torch.
        begin: Place of its first byte in the file.
        end: Place after its last.
    """

    type: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)


@dataclass(frozen=True)
class GGUFHeader:
    """Header of a GGUF file.

    Attributes:
        settings: Values by name.
        tensors: Places of the tensors by name.
    """

    settings: Mapping[str, Any]
    tensors: Mapping[str, GGUFTensor]

    @property
    def architecture(self) -> str:
        """Architecture, as llama.cpp calls it."""
        return str(self.settings["general.architecture"])

    @property
    def own(self) -> dict[str, Any]:
        """Settings of the architecture, without its name before them."""
        start = f"{self.architecture}."
        return {k.removeprefix(start): v for k, v in self.settings.items() if k.startswith(start)}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of entries of each type, largest first."""
        found: dict[str, int] = {}
        for tensor in self.tensors.values():
            found[tensor.type] = found.get(tensor.type, 0) + tensor.size
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def float_type(self) -> str:
        """Type of torch that holds all weights as they are.

        It is float32 where any are rounded.
        """
        held = set(self.sizes)
        if held <= _PLAIN and "BF16" in held and "F16" not in held:
            return "bfloat16"
        return "float16" if held <= {"F32", "F16"} and "F16" in held else "float32"


class _UnfitError(ValueError):
    """A header breaks a rule of this module."""


def read_header(path: Path) -> GGUFHeader:
    """Read and check the header of a GGUF file.

    Of its tensors, no byte is read.

    Raises:
        AuditorError: It is cut, contradicts itself or the file, or is larger than any model's; or
            the package that knows the types of tensors is not installed.
    """
    try:
        with open_regular(path) as file:
            found = _header(_Reader(file, path.stat().st_size))
    except (OSError, ValueError) as error:
        raise AuditorError(
            f"{path} is no GGUF file that can be read: {error}. Copy or download it again, or take "
            "it from where the model was published."
        ) from error
    if (parts := found.settings.get("split.count", 1)) not in (0, 1):
        raise AuditorError(
            f"{path} is one of {parts} parts of a model; put them together "
            "(`llama-gguf-split --merge FIRST WHOLE`), and give the whole."
        )
    return found


class _Reader:
    """File that is read in order, within the bound of a header."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size
        self.place = 0
        self._entries = 0

    def take(self, count: int) -> bytes:
        """Read bytes."""
        if self.place + count > min(self.size, _LONGEST):
            most = min(self.size, _LONGEST)
            raise _UnfitError(f"its header does not end within {most:,} bytes")
        self.place += count
        return self._file.read(count)

    def number(self, letter: str) -> Any:
        """Read a number of a type of `struct`."""
        return struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}")))[0]

    def text(self, longest: int = _TEXT) -> str:
        """Read a text."""
        length = self.number("Q")
        if length > longest:
            raise _UnfitError(f"a text in its header has {length:,} bytes, more than {longest:,}")
        return self.take(length).decode()

    def value(self) -> Any:
        """Read a value, its type first."""
        kind = self.number("I")
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise _UnfitError(f"its header holds a value of the type {kind}, which there is not")
        kind, count = self.number("I"), self.number("Q")
        self._entries += count
        if self._entries > _MOST_ENTRIES:
            raise _UnfitError(f"its lists have {self._entries:,} entries, and no model has so many")
        if kind == _STRING:
            return [self.text(_WORD) for _ in range(count)]
        if kind not in _NUMBERS:
            raise _UnfitError(f"its header holds a list of the type {kind}, which is not read")
        letter = _NUMBERS[kind]
        return list(struct.unpack(f"<{count}{letter}", self.take(count * struct.calcsize(letter))))


def _header(reader: _Reader) -> GGUFHeader:
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise _UnfitError("it does not begin as one does")
    if (version := reader.number("I")) not in _VERSIONS:
        raise _UnfitError(f"it is of version {version}, and 2 and 3 are read")
    tensors, keys = reader.number("Q"), reader.number("Q")
    if tensors > _MOST_TENSORS or keys > _MOST_KEYS:
        raise _UnfitError(f"it counts {tensors:,} tensors and {keys:,} settings, as no model has")
    settings: dict[str, Any] = {}
    for _ in range(keys):
        name = reader.text(_WORD)
        if name in settings:
            raise _UnfitError(f"it says {ascii(name)[:80]} twice")
        settings[name] = reader.value()
    _check_settings(settings)
    listed: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(tensors):
        name = reader.text(_WORD)
        if name in listed:
            raise _UnfitError(f"it holds the tensor {ascii(name)[:80]} twice")
        listed[name] = _listed(reader, name)
    alignment = settings.get("general.alignment", _ALIGNMENT)
    start = -(-reader.place // alignment) * alignment
    found = {n: _placed(n, start, alignment, *said) for n, said in listed.items()}
    _check_places(found, reader.size)
    return GGUFHeader(settings, found)


def _check_settings(settings: Mapping[str, Any]) -> None:
    architecture = settings.get("general.architecture")
    if not isinstance(architecture, str) or not architecture.replace("-", "_").isidentifier():
        raise _UnfitError("it names no architecture (general.architecture)")
    alignment = settings.get("general.alignment", _ALIGNMENT)
    if (
        not isinstance(alignment, int)
        or not 0 < alignment <= _LARGEST_ALIGNMENT
        or alignment & (alignment - 1)
    ):
        raise _UnfitError(f"its alignment ({ascii(alignment)[:40]}) is no power of two")


def _listed(reader: _Reader, name: str) -> tuple[tuple[int, ...], int, int]:
    """Read a tensor's shape, type and place after the header."""
    dimensions = reader.number("I")
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise _UnfitError(f"the tensor {ascii(name)[:80]} has {dimensions:,} dimensions")
    shape = tuple(reversed([reader.number("Q") for _ in range(dimensions)]))
    return shape, reader.number("I"), reader.number("Q")


def _placed(
    name: str, start: int, alignment: int, shape: tuple[int, ...], kind: int, offset: int
) -> GGUFTensor:
    """Return a tensor in its place.

    Args:
        name: Its name.
        start: Place of the first tensor in the file.
        alignment: Bytes to whose multiples tensors are placed.
        shape: Its shape, rows first.
        kind: Number of its type.
        offset: Its place, from the first tensor on.
    """
    known = _types().get(kind)
    if known is None:
        raise _UnfitError(
            f"the tensor {ascii(name)[:80]} is of the type {kind}, which is not known"
        )
    type_, block, bytes_ = known
    if min(shape) < 1 or shape[-1] % block or offset % alignment:
        raise _UnfitError(
            f"the tensor {ascii(name)[:80]} has a shape or a place that it cannot have"
        )
    begin = start + offset
    return GGUFTensor(type_, shape, begin, begin + prod(shape) // block * bytes_)


def _check_places(tensors: Mapping[str, GGUFTensor], size: int) -> None:
    """Refuse tensors outside of the file, or within each other."""
    placed = sorted(tensors.items(), key=lambda item: item[1].begin)
    for name, tensor in placed:
        if tensor.end > size:
            raise _UnfitError(
                f"it has {size:,} bytes, and its tensor {ascii(name)[:80]} ends at {tensor.end:,}"
            )
    for (one, before), (other, after) in pairwise(placed):
        if before.end > after.begin:
            raise _UnfitError(f"its tensors {ascii(one)[:80]} and {ascii(other)[:80]} overlap")


@cache
def _types() -> dict[int, tuple[str, int, int]]:
    """Number of a type to name, and a block's entries and bytes.

    Raises:
        MissingExtraError: The package that lists them is not installed.
    """
    try:
        from gguf.constants import GGML_QUANT_SIZES
    except ImportError as error:
        raise missing_extra(error) or error from error
    return {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
