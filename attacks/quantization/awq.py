"""AWQ: scales that protect the weights which matter most on calibration text."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors import safe_open

from attacks.quantization import awq_worker
from attacks.quantization.calibrated import (
    CalibratedAttack,
    CalibratedParameters,
    calibration_blocks,
    captured_output,
)
from attacks.quantization.code_flips import PackedCodes
from attacks.quantization.family import Quantized, assert_quantized, check_group_size
from auditor.attack import Keep, Preset, Requirements, attack, keep_within
from auditor.core.errors import MeasurementError
from auditor.core.messages import Message, message
from auditor.models.checkpoint_files import read_json
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location

_MADE = "made.json"
"""File beside a quantized copy that says how it was made."""
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Column of each 4-bit place of a word, the lowest place first (AutoAWQ's layout)."""

_REFUSED = {
    "gpt2": "awq_cannot_take_conv1d",
    "gpt_neox": "awq_scales_through_gelu",
    "opt": "awq_scales_from_wrong_norm",
}
"""Why an architecture cannot be measured, as of GPTQModel 7.7."""

SOUND = ("gemma", "granite", "llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Architectures (``model_type``) where GPTQModel's scaling was seen to leave the model as it is.

It scales a layer's inputs up and the outputs of the layer before down. Which layer that is, is
written down by hand in GPTQModel for each architecture, and wrong for some; what it then measures
is a broken model, not a rounded one.
"""


class AWQParameters(CalibratedParameters):
    """Settings of AWQ."""

    bits: Literal[4] = 4
    """Bits that a weight has after quantization; AWQ's published kernels share no other width."""
    group_size: Literal[16, 32, 64, 128] = 128
    """Inputs that share a scale. Must divide every layer's inputs."""
    calibration_samples: int = Field(default=32, ge=1)
    """Number of calibration texts. AWQ needs few, and its search takes time in proportion."""


@attack("quantization/awq")
class AWQ(CalibratedAttack[AWQParameters]):
    """Quantization with AWQ."""

    summary = "Quantize with AWQ, which scales up the inputs that matter before it rounds."
    details = """
    Inputs with large activations on calibration text get a finer grid; the layer before takes
    the factor back. Runs through GPTQModel in a process of its own; the checkpoint that it
    writes is opened with GPTQModel's reference kernel, which multiplies in half precision.
    Calibration text that holds the forget set would measure something else, so it is checked
    for. Architectures for which GPTQModel's scaling is wrong, or was not checked, are
    unavailable.
    """
    threat_model = "A deployer or downloader who shrinks the model to fit it on smaller hardware."
    access = "Weights and any text; no question or answer of the forget set."
    cost = (
        "About twenty passes of each layer over the calibration text, and ten seconds to start; "
        "about a quarter of a minute for a small model on one core."
    )
    leak = (
        "Knowledge that is absent at full precision and present here. The code-flip share is "
        "larger than for other quantizers, since different scales alone already change codes."
    )
    source = "AWQ (arXiv 2306.00978); quantization after unlearning (arXiv 2410.16454)."

    parameters_type = AWQParameters
    apart = True
    presets = (Preset("4-bit g128", {"bits": 4}, with_experts="quantization/rtn 4-bit g128"),)
    requires = Requirements(packages=("gptqmodel",), full_precision=True)
    opens_copies = True
    passes = 20

    @property
    def variant(self) -> str:
        """Bits and group size."""
        return f"{self.parameters.bits}-bit g{self.parameters.group_size}"

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None.

        GPTQModel's scaling must fit the architecture.
        """
        reason = super().unavailable(location)
        if reason is not None:
            return reason
        config = json.loads((location.model / "config.json").read_text(encoding="utf-8"))
        kind = str(config.get("model_type"))
        if kind in SOUND:
            return None
        if kind in _REFUSED:
            return message(_REFUSED[kind], architecture=kind)
        return message("awq_not_checked", architecture=kind, checked=SOUND)

    @contextlib.contextmanager
    def quantized(
        self, model: LanguageModel, scratch: Path, keep: Keep | None = None
    ) -> Iterator[Quantized]:
        """Open the copy that is kept.

        Another process makes it where there is none.
        """
        check_group_size(model.form, self.parameters.group_size)
        with captured_output("AWQ"):
            from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear

        keep = keep or keep_within(scratch)
        folder = keep(self.recipe(__name__), lambda empty: self._write(model, scratch, empty))
        with contextlib.ExitStack() as stack:
            with captured_output("AWQ"):
                copy = stack.enter_context(model.reloaded(scratch, folder))
            names = frozenset(assert_quantized(copy, AwqTorchLinear))
            notes = {
                "bits": self.parameters.bits,
                "kernel": AwqTorchLinear.__name__,
                "quantized_in": read_json(folder / _MADE)["dtype"],
                **self.calibration_notes(),
            }
            codes = self.sampled((name, c) for name, c in _codes(folder) if name in names)
            yield Quantized(copy, codes, notes)

    def _write(self, model: LanguageModel, scratch: Path, folder: Path) -> None:
        """Quantize a copy in another process, which writes it."""
        job = self._job(model, scratch, folder)
        model.close()  # the other process needs the room
        _run(job, scratch)
        (folder / _MADE).write_text(json.dumps({"dtype": job["dtype"]}), encoding="utf-8")

    def _job(self, model: LanguageModel, scratch: Path, folder: Path) -> awq_worker.Job:
        return {
            "model": str(model.directory(scratch).resolve()),
            "output": str(folder.resolve()),
            "group_size": self.parameters.group_size,
            "blocks": calibration_blocks(model, self.texts()),
            "dtype": _half(model.network.dtype),
            "device": "cuda:0" if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
            "trust_remote_code": model.spec.trust_remote_code,
        }


def _half(dtype: torch.dtype) -> str:
    """Type in which AWQ quantizes: float16 or bfloat16.

    On a CPU float16 is many times slower than bfloat16; either is far finer than four bits.
    """
    fast = torch.cuda.is_available() and dtype != torch.bfloat16
    return "float16" if fast else "bfloat16"


def _run(job: awq_worker.Job, scratch: Path) -> None:
    """Quantize in another process.

    Raises:
        MeasurementError: it failed, with the reason that it printed.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    order, log = scratch / "awq.json", scratch / "awq.log"
    order.write_text(json.dumps(job), encoding="utf-8")
    environment = dict(os.environ)
    # with fewer than two workers GPTQModel waits for itself for ever
    environment.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-P", awq_worker.__file__, str(order.resolve())],
            stdin=subprocess.PIPE,  # kept open: the worker ends when it closes
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd=scratch,
            env=environment,
        ) as worker,
    ):
        code = worker.wait()
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
        reason = (errors or lines or ["it said nothing"])[-1]
        raise MeasurementError(f"AWQ failed: {reason} (exit {code})")


def _codes(folder: Path) -> Iterator[tuple[str, PackedCodes]]:
    """Layer names and codes of a checkpoint."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for key in sorted(weights.keys()):
                if key.endswith(".qweight"):
                    yield key.removesuffix(".qweight"), PackedRows(weights.get_tensor(key))


class PackedRows(PackedCodes):
    """AWQ's packed rows of 4-bit codes, eight interleaved columns a word.

    The codes are [in, out].

    Args:
        packed: int32 [in, out / 8].
    """

    def __init__(self, packed: torch.Tensor) -> None:
        self._words = packed.detach().reshape(-1)

    def numel(self) -> int:
        """Eight for each word."""
        return 8 * self._words.numel()

    def take(self, places: torch.Tensor) -> torch.Tensor:
        """Read the chosen codes out of one word each."""
        column_places = torch.tensor([_ORDER.index(column) for column in range(8)])
        return (self._words[places // 8] >> (4 * column_places[places % 8])) & 0xF
