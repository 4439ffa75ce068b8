"""GPTQ: rounding that makes up for its errors on calibration text."""

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import GPTQConfig

from attacks.quantization.calibrated import (
    CalibratedAttack,
    CalibratedParameters,
    calibration_blocks,
    captured_output,
)
from attacks.quantization.family import Quantized, assert_quantized, check_group_size
from auditor.attack import Preset, Requirements, attack
from auditor.models.language.layers import reads_text_alone
from auditor.models.language.model import LanguageModel


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
        Preset("4-bit g128", {"bits": 4}, "quick", mandatory=True),
        Preset("8-bit g128", {"bits": 8}),
        Preset("3-bit g128", {"bits": 3}),
        Preset("2-bit g128", {"bits": 2}, "exhaustive"),
    )
    requires = Requirements(packages=("optimum", "gptqmodel"), full_precision=True)

    @property
    def variant(self) -> str:
        """Bits and group size."""
        return f"{self.parameters.bits}-bit g{self.parameters.group_size}"

    @contextlib.contextmanager
    def quantized(self, model: LanguageModel, scratch: Path) -> Iterator[Quantized]:
        """Quantize a copy through transformers with a ``GPTQConfig``."""
        check_group_size(model.network, self.parameters.group_size)
        with captured_output("GPTQ"):
            from gptqmodel.nn_modules.qlinear import BaseQuantLinear

        config = GPTQConfig(
            bits=self.parameters.bits,
            group_size=self.parameters.group_size,
            dataset=calibration_blocks(model, self.texts()),
            tokenizer=model.tokenizer,
        )
        torch.manual_seed(0)
        with contextlib.ExitStack() as stack:
            with captured_output("GPTQ"):
                rounded = stack.enter_context(
                    model.reloaded(scratch, quantization_config=config, **_settings(model))
                )
            layers = assert_quantized(rounded, BaseQuantLinear)
            codes = ((name, unpack(layer.qweight, layer.bits)) for name, layer in layers.items())
            notes = {
                "bits": self.parameters.bits,
                "kernel": type(next(iter(layers.values()))).__name__,
                **self.calibration_notes(),
            }
            yield Quantized(rounded, codes, notes)


def _settings(model: LanguageModel) -> dict[str, Any]:
    """Settings of a model of several modalities, as optimum reads them.

    It turns the cache of keys and values off, where a model of text alone says it.
    """
    if reads_text_alone(model.network):
        return {}
    config = copy.deepcopy(model.network.config)
    config.use_cache = config.get_text_config().use_cache = False
    return {"config": config}


def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes out of GPTQ's packed columns, which are little-endian streams of bits.

    Args:
        packed: int32 [in * bits / 32, out].
        bits: bits per code; 3-bit codes straddle words.

    Returns:
        uint8 [in, out].
    """
    words = packed.detach().cpu().numpy().astype("<u4")
    stream = np.unpackbits(
        np.ascontiguousarray(words.T).view(np.uint8), axis=1, bitorder="little"
    )  # [out, in * bits]
    codes = np.packbits(stream.reshape(words.shape[1], -1, bits), axis=-1, bitorder="little")
    return torch.from_numpy(codes[..., 0].T.copy())
