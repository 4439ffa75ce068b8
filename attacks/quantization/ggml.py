"""ggml's own quantizer, called in the library that a package brings."""

import ctypes
import importlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from auditor.core.errors import MeasurementError, UnavailableError

PACKAGE = "xllamacpp"
"""Package whose compiled module holds ggml."""

_CHUNK = 1 << 22
"""Weights that are rounded in one call."""

Floats = npt.NDArray[np.float32]


class Rounded(NamedTuple):
    """A matrix as a GGUF file holds it."""

    weights: Floats
    """What is read back from the file [rows, columns]."""
    size: int
    """Bytes in the file."""


@cache
def ggml() -> ctypes.CDLL:
    """Open the library.

    Raises:
        UnavailableError: The package is missing, or gives no access to ggml.
    """
    package = find_spec(PACKAGE)
    module = package and PathFinder.find_spec(PACKAGE, package.submodule_search_locations)
    if not module or not module.origin:
        raise UnavailableError(f"{PACKAGE} is not installed: pip install {PACKAGE}")
    try:
        library = ctypes.CDLL(module.origin)
        library.ggml_type_name.restype = ctypes.c_char_p
        library.ggml_row_size.restype = ctypes.c_size_t
        library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
        library.ggml_quantize_chunk.restype = ctypes.c_size_t
        library.ggml_quantize_chunk.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
    except (OSError, AttributeError) as error:
        raise UnavailableError(
            f"the {PACKAGE} that is installed on {sys.platform} gives no access to ggml's "
            "quantizer; its wheels for the processor alone do"
        ) from error
    return library


def pack(weights: Floats, type_: str) -> npt.NDArray[np.uint8]:
    """Quantize a matrix with `ggml_quantize_chunk`, without an importance matrix.

    Args:
        weights: [rows, columns], finite; the columns fill whole blocks.
        type_: Name of a type of ggml, for example ``Q4_K``.

    Returns:
        Bytes as in a file [rows, bytes of a row].

    Raises:
        MeasurementError: The library means another type by its number, or wrote another number
            of bytes than the rows have.
    """
    number, library = _number(type_), ggml()
    if (name := library.ggml_type_name(number).decode()).upper() != type_:
        raise MeasurementError(f"ggml calls {type_} {name}; gguf and {PACKAGE} do not fit")
    rows, columns = weights.shape
    weights = np.ascontiguousarray(weights, np.float32)
    packed = np.empty((rows, library.ggml_row_size(number, columns)), np.uint8)
    written = library.ggml_quantize_chunk(
        number, weights.ctypes.data, packed.ctypes.data, 0, rows, columns, None
    )
    if written != packed.size:
        raise MeasurementError(f"ggml wrote {written} bytes of {type_}, and not {packed.size}")
    return packed


def unpack(packed: npt.NDArray[np.uint8], type_: str, columns: int) -> Floats:
    """Read a packed matrix back, as ggml does.

    Its first row is read by the package gguf as well, which shares no code with ggml.

    Args:
        packed: [rows, bytes of a row].
        type_: Name of its type.
        columns: Weights of a row.

    Raises:
        MeasurementError: The two read different weights, or some that are not finite.
    """
    weights = np.empty((len(packed), columns), np.float32)
    reader = getattr(ggml(), f"dequantize_row_{type_.lower().replace('_k', '_K')}")
    reader.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    reader.restype = None
    reader(packed.ctypes.data, weights.ctypes.data, weights.size)
    if not np.isfinite(weights).all():
        raise MeasurementError(f"weights are not finite in {type_}; no file can hold them")
    other = _gguf().dequantize(packed[:1], _gguf().GGMLQuantizationType[type_])
    if not np.array_equal(other, weights[:1]):
        raise MeasurementError(f"ggml and the package gguf read different weights from {type_}")
    return weights


def rounded(weights: torch.Tensor, type_: str) -> Rounded:
    """Round a matrix as a GGUF file of it would.

    Args:
        weights: [rows, columns], of any float type, on any device.
        type_: Name of a type of ggml.

    Raises:
        MeasurementError: Weights are not finite, before or after.
    """
    rows, columns = weights.shape
    result = np.empty((rows, columns), np.float32)
    step = max(1, _CHUNK // columns)

    def rounded_from(start: int) -> int:
        part = weights[start : start + step].to("cpu", torch.float32).numpy()
        if not np.isfinite(part).all():
            raise MeasurementError("the model holds weights that are not finite")
        if type_ == "F16":
            result[start : start + step] = part.astype(np.float16)
            return 2 * part.size
        packed = pack(part, type_)
        result[start : start + step] = unpack(packed, type_, columns)
        return packed.size

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        size = sum(threads.map(rounded_from, _starts(rows, step)))
    return Rounded(result, size)


def _starts(rows: int, step: int) -> Iterator[int]:
    yield from range(0, rows, step)


def _gguf() -> Any:
    return importlib.import_module("gguf")


def _number(type_: str) -> int:
    return int(_gguf().GGMLQuantizationType[type_])
