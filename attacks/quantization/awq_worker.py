"""AWQ in a process of its own: `python awq_worker.py JOB`.

GPTQModel ends the whole process from one of its threads when a layer fails, with exit code 1,
which for an audit means FAIL. So the audit starts this file by its path and reads what it leaves
behind. It imports nothing of the project.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TypedDict


class Job(TypedDict):
    """Task of the worker, as its JSON file holds it."""

    model: str
    """Folder of the full-precision model."""
    output: str
    """Folder that the quantized checkpoint is written to."""
    group_size: int
    blocks: list[dict[str, list[list[int]]]]
    """Tokenised calibration text."""
    dtype: str
    """float16 or bfloat16."""
    device: str
    threads: int
    trust_remote_code: bool


def quantize(job: Job) -> None:
    """Write a 4-bit AWQ checkpoint with zero points, in AutoAWQ's layout (GEMM).

    Its configuration names GPTQModel's reference kernel, which needs no compiler and computes
    alike on every processor.
    """
    import torch
    from gptqmodel import AWQConfig, GPTQModel

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    config = AWQConfig(bits=4, group_size=job["group_size"], sym=False, offload_to_disk=False)
    model = GPTQModel.load(
        job["model"],
        config,
        device=job["device"],
        dtype=getattr(torch, job["dtype"]),
        trust_remote_code=job["trust_remote_code"],
    )
    model.quantize(job["blocks"], batch_size=1, calibration_data_min_length=0)
    model.save(job["output"])
    file = Path(job["output"]) / "config.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    content["quantization_config"]["backend"] = "torch_awq"
    file.write_text(json.dumps(content), encoding="utf-8")


def _end_with_parent() -> None:
    """Standard input closes when the audit ends, however it ends."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quantize(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
