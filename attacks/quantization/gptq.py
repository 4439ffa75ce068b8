"""GPTQ: rounding that makes up for its errors on calibration text."""

import contextlib
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import GPTQConfig

from attacks.quantization.calibrated import (
    CalibratedAttack,
    CalibratedParameters,
    calibration_blocks,
    captured_output,
)
from attacks.quantization.code_flips import PackedCodes
from attacks.quantization.family import Quantized, assert_quantized, check_group_size
from auditor.attack import Keep, Preset, Requirements, attack, keep_within
from auditor.models.language.layers import is_transposed, linear_layers, reads_text_alone
from auditor.models.language.loading import save_network
from auditor.models.language.model import LanguageModel

_WORD = 32
"""Bits of a word."""


class GPTQParameters(CalibratedParameters):
    """Settings of GPTQ."""

    bits: Literal[2, 3, 4, 8] = 4
    """Bits that a weight has after quantization."""


@attack("quantization/gptq")
class GPTQ(CalibratedAttack[GPTQParameters]):
    """Quantization with GPTQ."""

    summary = "Quantize with GPTQ, the format of most published 4-bit checkpoints."
    details = """
    Layer by layer, each rounding error is made up for by the weights that are not rounded yet,
    so that the layer's outputs on calibration text change least. Runs through transformers'
    `GPTQConfig`, optimum and GPTQModel. Calibration text that holds the forget set would
    measure something else, so it is checked for. Eight and four bits keep most models whole;
    two and three often break the original as well and are advisory.
    """
    threat_model = "A deployer or downloader who shrinks the model to fit it on smaller hardware."
    access = "Weights and any text; no question or answer of the forget set."
    cost = "A few passes over the calibration text, seconds to minutes."
    leak = (
        "Knowledge that is absent at full precision and present here. The code-flip share says "
        "how many weights of the unlearned model still round to another code than the "
        "original's."
    )
    source = "GPTQ (arXiv 2210.17323); quantization after unlearning (arXiv 2410.16454)."

    parameters_type = GPTQParameters
    presets = (
        Preset(
            "4-bit g128",
            {"bits": 4},
            "quick",
            mandatory=True,
            with_experts="quantization/rtn 4-bit g128",
        ),
        Preset("8-bit g128", {"bits": 8}, with_experts="quantization/rtn 8-bit"),
        Preset("3-bit g128", {"bits": 3}, with_experts="quantization/rtn 3-bit"),
        Preset("2-bit g128", {"bits": 2}, "exhaustive", with_experts="quantization/rtn 2-bit"),
    )
    requires = Requirements(packages=("optimum", "gptqmodel"), full_precision=True)
    opens_copies = True

    @property
    def variant(self) -> str:
        """Bits and group size."""
        return f"{self.parameters.bits}-bit g{self.parameters.group_size}"

    @contextlib.contextmanager
    def quantized(
        self, model: LanguageModel, scratch: Path, keep: Keep | None = None
    ) -> Iterator[Quantized]:
        """Open the copy that is kept, made first where absent."""
        check_group_size(model.form, self.parameters.group_size)
        with captured_output("GPTQ"):
            from gptqmodel.nn_modules.qlinear import BaseQuantLinear

        with contextlib.ExitStack() as stack:
            copy = stack.enter_context(self._copy(model, scratch, keep or keep_within(scratch)))
            layers = assert_quantized(copy, BaseQuantLinear)
            codes = self.sampled(
                (name, PackedColumns(layer.qweight, layer.bits)) for name, layer in layers.items()
            )
            notes = {
                "bits": self.parameters.bits,
                "kernel": type(next(iter(layers.values()))).__name__,
                **self.calibration_notes(),
            }
            del layers  # else they would outlive the copy
            yield Quantized(copy, codes, notes)

    @contextlib.contextmanager
    def _copy(self, model: LanguageModel, scratch: Path, keep: Keep) -> Iterator[LanguageModel]:
        """Open the copy from disk, or make it in memory.

        The latter is for models whose copies cannot be opened from disk.
        """
        if not _opens_from_disk(model):
            with self._made(model, scratch) as copy:
                yield copy
            return
        folder = keep(self.recipe(__name__), lambda empty: self._write(model, scratch, empty))
        with contextlib.ExitStack() as stack:
            with captured_output("GPTQ"):
                copy = stack.enter_context(model.reloaded(scratch, folder))
            yield copy

    @contextlib.contextmanager
    def _made(self, model: LanguageModel, scratch: Path) -> Iterator[LanguageModel]:
        """Quantize a copy in memory through transformers with a ``GPTQConfig``."""
        config = GPTQConfig(
            bits=self.parameters.bits,
            group_size=self.parameters.group_size,
            dataset=calibration_blocks(model, self.texts()),
            tokenizer=model.tokenizer,
        )
        torch.manual_seed(0)
        with contextlib.ExitStack() as stack:
            with captured_output("GPTQ"):
                copy = stack.enter_context(
                    model.reloaded(scratch, quantization_config=config, **_settings(model))
                )
            yield copy

    def _write(self, model: LanguageModel, scratch: Path, folder: Path) -> None:
        """Quantize a copy and write it, without the calibration text."""
        with self._made(model, scratch) as copy, captured_output("GPTQ"):
            copy.network.config.quantization_config.dataset = None
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Attempting to save a model with offload")
                save_network(copy.network, folder)


def _opens_from_disk(model: LanguageModel) -> bool:
    """Return whether a quantized copy opens from its files.

    Layers that are Conv1D at full precision (GPT-2) are looked for as such, so they cannot. Models
    of several modalities, and those that bring code, were not tried.
    """
    network = model.form
    if model.spec.trust_remote_code or not reads_text_alone(network):
        return False
    return not any(map(is_transposed, linear_layers(network).values()))


def _settings(model: LanguageModel) -> dict[str, Any]:
    """Settings of a model of several modalities, as optimum reads them.

    It turns the cache of keys and values off, where a model of text alone says it.
    """
    if reads_text_alone(model.network):
        return {}
    config = deepcopy(model.network.config)
    config.use_cache = config.get_text_config().use_cache = False
    return {"config": config}


class PackedColumns(PackedCodes):
    """GPTQ's packed columns, which are little-endian streams of bits.

    The codes are [in, out].

    Args:
        packed: int32 [in * bits / 32, out].
        bits: bits per code; 3-bit codes straddle words.
    """

    def __init__(self, packed: torch.Tensor, bits: int) -> None:
        self._words = packed.detach()
        self._bits = bits

    def numel(self) -> int:
        """As many as fit into the words."""
        return self._words.numel() * _WORD // self._bits

    def take(self, places: torch.Tensor) -> torch.Tensor:
        """Read the chosen codes out of one or two words each."""
        places = places.to(self._words.device)
        height, width = self._words.shape
        row, column = places // width, places % width
        word, shift = row * self._bits // _WORD, row * self._bits % _WORD
        following = (word + 1).clamp_max(height - 1)
        both = self._word(word, column) | (self._word(following, column) << _WORD)
        return (both >> shift) & ((1 << self._bits) - 1)

    def _word(self, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        """Words as int64 without sign."""
        return self._words[row, column].to(torch.int64) & 0xFFFFFFFF
