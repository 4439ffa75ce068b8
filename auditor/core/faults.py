"""Faults of memory and of accelerators, told by what libraries raise.

CUDA's own errors come as plain ``RuntimeError`` from PyTorch, bitsandbytes, cuBLAS, Triton and
kernels of quantizers; only the caching allocator has a class for lack of memory.
"""

import errno
import re
from collections.abc import Iterator

_OUT_OF_MEMORY = re.compile(
    "|".join(
        (
            r"\bout of memory\b",  # CUDA's runtime and driver, its allocator, HIP, XPU, MPS
            r"CU(?:BLAS|DNN|SOLVER|SPARSE|FFT|RAND)_STATUS_ALLOC_FAILED",
            r"CUFFT_ALLOC_FAILED",
            r"CUSPARSE_STATUS_INSUFFICIENT_RESOURCES",
            r"CUDNN_STATUS_NOT_SUPPORTED",  # where its workspace cannot be had, too
            r"NVML_SUCCESS == \w+.*INTERNAL ASSERT FAILED",  # the allocator's report of it
            r"can't allocate memory",  # the CPU's allocator
            r"not enough memory: you tried to allocate",
            r"Cannot allocate memory",  # the system's, of files that are mapped
            r"PT_DEVMEM Allocation failed",  # HPU
        )
    )
)
_LOST = re.compile(
    r"(?:CUDA|HIP)[^\n]*(?:"
    + "|".join(
        (
            "an illegal memory access was encountered",
            "device-side assert triggered",
            "unspecified launch failure",
            "misaligned address",
            "an illegal instruction was encountered",
            "invalid program counter",
            "hardware stack error",
            "operation not supported on global/shared address space",
            "the launch timed out and was terminated",
            "uncorrectable ECC error encountered",
            "uncorrectable NVLink error",
        )
    )
    + ")"
)
"""Errors after which CUDA refuses every later call of the process (cudaError_t in its manual)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def is_context_lost(error: BaseException) -> bool:
    """Return whether an error took the accelerator from this process.

    What led to the error counts, too. Every later call of the accelerator fails in such a process,
    whatever it is for.
    """
    return any(
        isinstance(one, RuntimeError) and _LOST.search(str(one)) is not None
        for one in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it."""
    seen: set[int] = set()
    while id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__ or error
