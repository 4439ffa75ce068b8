"""GPTQ: rounding that makes up for its errors on calibration text."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import GPTQConfig

from attacks.quantization.calibration import generic_texts, read_texts
from attacks.quantization.family import (
    QuantizationAttack,
    QuantizationParameters,
    Quantized,
    assert_quantized,
)
from auditor.attack import Level, Requirements, attack
from auditor.digests import digest
from auditor.errors import MeasurementError
from auditor.subjects.causal_lm import CausalLM

_BLOCK = 512
"""Tokens in one calibration example."""


class GPTQParameters(QuantizationParameters):
    """Settings of GPTQ."""

    bits: Literal[2, 3, 4, 8] = 4
    group_size: int = 128
    """Inputs that share a scale; -1 for a whole column. Must divide every layer's inputs."""
    calibration: str | None = None
    """File of calibration texts (.txt, one a line; .jsonl with ``text``); by default generated
    everyday sentences that state no fact."""
    calibration_samples: int = Field(default=128, ge=1)
    """Texts used."""


@attack("quantization/gptq")
class GPTQ(QuantizationAttack[GPTQParameters]):
    """Quantize with GPTQ (arXiv 2210.17323), the format of most published 4-bit checkpoints.

    Through transformers' ``GPTQConfig``, optimum and GPTQModel. Threat model: a deployer with
    the weights and any calibration text, minutes of work. Calibration text that holds the forget
    set would measure something else, so it is checked for. Eight and four bits keep most models
    whole; two and three often break the original as well and are advisory.
    """

    parameters_type = GPTQParameters
    levels: ClassVar[Sequence[Level]] = (
        Level({"bits": 4}, "quick", mandatory=True),
        Level({"bits": 8}, "standard"),
        Level({"bits": 3}, "standard"),
        Level({"bits": 2}, "exhaustive"),
    )
    requires = Requirements(packages=("optimum", "gptqmodel"), full_precision=True)

    @property
    def variant(self) -> str:
        """Bits and group size."""
        return f"{self.parameters.bits}-bit g{self.parameters.group_size}"

    def forward_tokens(self, examination: int) -> int:
        """The calibration passes come on top; about 80 tokens a text, three passes."""
        return examination + 3 * 80 * self.parameters.calibration_samples

    def texts(self) -> Sequence[str]:
        """The calibration texts."""
        count = self.parameters.calibration_samples
        if self.parameters.calibration is None:
            return generic_texts(count)
        return read_texts(Path(self.parameters.calibration))[:count]

    def inputs(self) -> Mapping[str, str]:
        """Digest of the calibration texts."""
        return {"calibration": digest(list(self.texts()))}

    @contextlib.contextmanager
    def quantized(self, subject: CausalLM, scratch: Path) -> Iterator[Quantized]:
        """Quantize a copy through transformers with a ``GPTQConfig``."""
        with _hushed():
            from gptqmodel.nn_modules.qlinear import BaseQuantLinear

        config = GPTQConfig(
            bits=self.parameters.bits,
            group_size=self.parameters.group_size,
            dataset=calibration_blocks(subject, self.texts()),
            tokenizer=subject.tokenizer,
        )
        torch.manual_seed(0)
        with contextlib.ExitStack() as stack:
            with _hushed():
                copy = stack.enter_context(subject.reloaded(scratch, quantization_config=config))
            layers = assert_quantized(copy.model, BaseQuantLinear)
            codes = ((name, unpack(layer.qweight, layer.bits)) for name, layer in layers.items())
            notes = {
                "bits": self.parameters.bits,
                "group_size": self.parameters.group_size,
                "kernel": type(next(iter(layers.values()))).__name__,
                "calibration": self.parameters.calibration or "generated everyday sentences",
                "calibration_digest": self.inputs()["calibration"],
            }
            yield Quantized(copy, codes, notes)


def calibration_blocks(subject: CausalLM, texts: Sequence[str]) -> list[dict[str, list[list[int]]]]:
    """Texts as blocks of equal length without padding, which would enter the Hessian.

    Args:
        subject: whose tokenizer and context length decide the blocks.
        texts: joined by the end-of-sequence token; what does not fill the last block is left out
            unless it is all there is.

    Returns:
        Tokenised examples of shape [rows, length], about 512 tokens each.
    """
    end = [subject.tokenizer.eos_token_id] if subject.tokenizer.eos_token_id is not None else []
    encoded = subject.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    stream = [token for ids in encoded for token in (*ids, *end)]
    context = getattr(subject.config, "max_position_embeddings", None) or _BLOCK
    length = min(_BLOCK, context, len(stream))
    blocks = [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]
    rows = max(1, _BLOCK // length)
    grouped = [blocks[i : i + rows] for i in range(0, len(blocks), rows)]
    return [{"input_ids": g, "attention_mask": [[1] * length for _ in g]} for g in grouped]


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


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep GPTQModel's banners out of our output; show their end if it fails."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except (RuntimeError, ValueError, AssertionError, KeyError) as error:
        tail = " | ".join(said.getvalue().splitlines()[-3:])
        raise MeasurementError(f"GPTQ failed: {type(error).__name__}: {error} ({tail})") from error
