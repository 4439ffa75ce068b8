"""What libraries raise when memory runs out, or when a device is lost."""

import errno

import pytest
import torch

from auditor.core.errors import MeasurementError
from auditor.core.faults import is_context_lost, is_out_of_memory
from auditor.models.batching import run_batched

ACCELERATOR = getattr(torch, "AcceleratorError", RuntimeError)

MEMORY = {
    "the caching allocator": torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB"
    ),
    "the runtime": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported"),
    "the accelerator": ACCELERATOR("CUDA error: out of memory"),
    "cuBLAS": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "the driver": RuntimeError("CUDA driver error: out of memory"),
    "the allocator's own report": RuntimeError(
        "NVML_SUCCESS == r INTERNAL ASSERT FAILED at \"CUDACachingAllocator.cpp\":1131, please "
        "report a bug to PyTorch."
    ),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."),
    "Apple": RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"),
    "the processor": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried "
        "to allocate 1125899906842624 bytes."
    ),
    "Python": MemoryError(),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory"),
}  # fmt: skip

LOST = {
    "address": ACCELERATOR("CUDA error: an illegal memory access was encountered"),
    "assertion": RuntimeError("CUDA error: device-side assert triggered\nCompile with"),
    "launch": RuntimeError("CUDA error: unspecified launch failure"),
    "kernel": RuntimeError("Triton Error [CUDA]: misaligned address"),
    "other maker": RuntimeError("HIP error: an illegal memory access was encountered"),
}

OTHER = {
    "shapes": RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    "architecture": RuntimeError("CUDA error: no kernel image is available for execution"),
    "value": ValueError("out of memory of what was said"),
    "what a fact says": MeasurementError("the answer 'CUDA error: device-side assert triggered'"),
    "a file": OSError(errno.ENOENT, "No such file"),
}


@pytest.mark.parametrize("fault", MEMORY)
def test_lack_of_memory_is_known_by_whatever_raises_it(fault):
    error = MEMORY[fault]
    assert is_out_of_memory(error)
    assert not is_context_lost(error)


@pytest.mark.parametrize("fault", [name for name in MEMORY if name != "the system"])
def test_a_batch_is_halved_whoever_says_that_it_does_not_fit(fault):
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise MEMORY[fault]
        return batch

    assert run_batched([1, 1, 1, 1], 4, run) == [0, 1, 2, 3]
    assert sizes[:3] == [4, 2, 1]


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_device_is_no_lack_of_memory(fault):
    assert is_context_lost(LOST[fault])
    assert not is_out_of_memory(LOST[fault])


@pytest.mark.parametrize("fault", OTHER)
def test_other_faults_are_neither(fault):
    assert not is_out_of_memory(OTHER[fault])
    assert not is_context_lost(OTHER[fault])


def test_a_lost_device_is_known_through_what_was_made_of_it():
    def quantize():
        try:
            raise LOST["address"]
        except RuntimeError as error:
            raise MeasurementError("GPTQ failed") from error

    with pytest.raises(MeasurementError) as caught:
        quantize()
    assert is_context_lost(caught.value)
