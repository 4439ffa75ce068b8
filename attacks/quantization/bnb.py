"""bitsandbytes: the quantization that `load_in_4bit` and `load_in_8bit` apply."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from transformers import BitsAndBytesConfig

from attacks.quantization.code_flips import PackedCodes
from attacks.quantization.family import (
    QuantizationAttack,
    QuantizationParameters,
    Quantized,
    assert_quantized,
)
from attacks.quantization.grids import CodebookGrid
from auditor.attack import Footprint, Keep, Preset, Requirements, attack
from auditor.models.language.model import LanguageModel


class BitsAndBytesParameters(QuantizationParameters):
    """Settings of bitsandbytes."""

    format: Literal["int8", "nf4", "fp4", "nf4-double"] = "nf4"
    """LLM.int8() (arXiv 2208.07339), NormalFloat4 or FloatingPoint4 in blocks of 64 (arXiv
    2305.14314), or NF4 with quantized scales."""


@attack("quantization/bnb")
class BitsAndBytes(QuantizationAttack[BitsAndBytesParameters]):
    """Quantization with bitsandbytes."""

    summary = "Load the model in 8 or 4 bits with bitsandbytes, as anyone can with one argument."
    threat_model = "A deployer or downloader with the weights; no data and no training."
    access = "Weights."
    cost = "Seconds, and one evaluation."
    leak = (
        "Knowledge that is absent at full precision and present here. The code-flip share says "
        "how many weights of the unlearned model still round to another code than the "
        "original's."
    )
    source = (
        "arXiv 2410.16454, whose code uses bitsandbytes FP4; NF4 is QLoRA's format (arXiv "
        "2305.14314)."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = BitsAndBytesParameters
    presets = (
        Preset(
            "int8",
            {"format": "int8"},
            "quick",
            mandatory=True,
            with_experts="quantization/rtn 8-bit",
        ),
        Preset(
            "nf4",
            {"format": "nf4"},
            "quick",
            mandatory=True,
            with_experts="quantization/rtn nf4",
        ),
        Preset(
            "fp4",
            {"format": "fp4"},
            "quick",
            mandatory=True,
            with_experts="quantization/rtn fp4",
        ),
        Preset("nf4-double", {"format": "nf4-double"}, with_experts="quantization/rtn nf4"),
    )
    requires = Requirements(packages=("bitsandbytes",), full_precision=True)
    opens_copies = True

    @property
    def variant(self) -> str:
        """The format."""
        return self.parameters.format

    @property
    def grid(self) -> CodebookGrid | None:
        """Grid of the four-bit formats.

        int8's cells are too narrow to hide anything in.
        """
        if self.parameters.format == "int8":
            return None
        return CodebookGrid("fp4" if self.parameters.format == "fp4" else "nf4")

    @property
    def footprint(self) -> Footprint:
        """Codes of a byte or half of one, and scales of blocks."""
        bytes_each = {"int8": 1.0, "nf4-double": 0.516}
        return Footprint(copy=bytes_each.get(self.parameters.format, 0.5625))

    @contextmanager
    def quantized(
        self, model: LanguageModel, scratch: Path, keep: Keep | None = None
    ) -> Iterator[Quantized]:
        """Load a copy through transformers with a ``BitsAndBytesConfig``."""
        import bitsandbytes as bnb

        eight = self.parameters.format == "int8"
        with model.reloaded(scratch, quantization_config=self._config(model)) as copy:
            layers = assert_quantized(copy, bnb.nn.Linear8bitLt if eight else bnb.nn.Linear4bit)
            codes = self.sampled(
                (name, layer.weight.data if eight else Nibbles(layer.weight.data))
                for name, layer in layers.items()
            )
            del layers  # else they would outlive the copy
            yield Quantized(copy, codes, {"format": self.parameters.format})

    def _config(self, model: LanguageModel) -> BitsAndBytesConfig:
        if self.parameters.format == "int8":
            return BitsAndBytesConfig(load_in_8bit=True)
        dtype = torch.float32 if model.spec.dtype == "auto" else getattr(torch, model.spec.dtype)
        if torch.cuda.is_available() and model.spec.dtype == "auto":
            dtype = torch.bfloat16
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.parameters.format.removesuffix("-double"),
            bnb_4bit_use_double_quant=self.parameters.format.endswith("-double"),
            bnb_4bit_compute_dtype=dtype,
        )


class Nibbles(PackedCodes):
    """Two 4-bit codes in each byte, the high one first.

    Args:
        packed: uint8, of any shape.
    """

    def __init__(self, packed: torch.Tensor) -> None:
        self._bytes = packed.detach().reshape(-1)

    def numel(self) -> int:
        """Two for each byte."""
        return 2 * self._bytes.numel()

    def take(self, places: torch.Tensor) -> torch.Tensor:
        """Read the chosen halves of bytes."""
        places = places.to(self._bytes.device)
        chosen = self._bytes[places // 2]
        return torch.where(places % 2 == 0, chosen >> 4, chosen & 0xF)


def nibbles(packed: torch.Tensor) -> torch.Tensor:
    """Two 4-bit codes out of each byte, the high one first."""
    return torch.stack((packed >> 4, packed & 0xF), dim=-1)
