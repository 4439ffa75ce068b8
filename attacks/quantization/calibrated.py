"""Base of quantizers that use calibration text."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from attacks.quantization.calibration import generic_texts, read_texts
from attacks.quantization.family import QuantizationAttack, QuantizationParameters
from auditor.attack import FilePath, Footprint, Recipe
from auditor.core.errors import MeasurementError
from auditor.core.hashing import digest
from auditor.models.language.model import LanguageModel

_BLOCK = 512
"""Tokens in one calibration example."""

_FITTING = 20
"""Operations that the fit of one column takes, for the estimate of the cost."""
_TOKENS_A_TEXT = 80
"""Rough length of a calibration text, for the estimate of the cost."""


class CalibratedParameters(QuantizationParameters):
    """Settings of every quantizer that calibrates."""

    group_size: int = 128
    """Inputs that share a scale; -1 for a whole column. Must divide every layer's inputs."""
    calibration: FilePath | None = None
    """File of calibration texts (.txt, one a line; .jsonl with ``text``); by default generated
    everyday sentences that state no fact."""
    calibration_samples: int = Field(default=128, ge=1)
    """Number of calibration texts."""


C = TypeVar("C", bound=CalibratedParameters)


class CalibratedAttack(QuantizationAttack[C]):
    """Attack with a quantizer that fits calibration text."""

    passes: ClassVar[int] = 3
    """Passes over the calibration text, about, for the estimate of the cost."""
    apart: ClassVar[bool] = False
    """Whether a process of its own quantizes, and writes the copy to disk."""

    def forward_tokens(self, evaluation: int) -> int:
        """The calibration passes come on top; about 80 tokens a text."""
        return evaluation + self.passes * _TOKENS_A_TEXT * self.parameters.calibration_samples

    def recipe(self, module: str) -> Recipe:
        """Recipe of the quantized copy.

        Args:
            module: The module that makes it.
        """
        return Recipe(
            module=module,
            settings={
                "parameters": self.parameters.model_dump(
                    mode="json", exclude={"code_sample", "calibration"}
                ),
                **self.inputs(),
            },
            packages=self.requires.packages,
        )

    @property
    def footprint(self) -> Footprint:
        """Packed codes and scales, and the weights that are fitted.

        The copy stays in the store.
        """
        scales = 4 / self.parameters.group_size if self.parameters.group_size > 0 else 0
        packed = getattr(self.parameters, "bits", 4) / 8 + scales
        return Footprint(
            copy=packed,
            making=2.0 - packed,
            weights_read=1,
            columns=_FITTING,
            written=packed,
            stored=True,
            process=self.apart,
        )

    def texts(self) -> Sequence[str]:
        """The calibration texts."""
        count = self.parameters.calibration_samples
        if self.parameters.calibration is None:
            return generic_texts(count)
        return read_texts(Path(self.parameters.calibration))[:count]

    def inputs(self) -> Mapping[str, str]:
        """Digest of the calibration texts."""
        return {"calibration": digest(list(self.texts()))}

    def calibration_notes(self) -> dict[str, Any]:
        """Notes on the calibration."""
        return {
            "group_size": self.parameters.group_size,
            "calibration": self.parameters.calibration or "generated everyday sentences",
            "calibration_digest": self.inputs()["calibration"],
        }


def calibration_blocks(
    model: LanguageModel, texts: Sequence[str]
) -> list[dict[str, list[list[int]]]]:
    """Texts as blocks of equal length.

    Padding would enter the statistics.

    Args:
        model: model whose tokenizer and context length decide the blocks.
        texts: joined by the end-of-sequence token; what does not fill the last block is left out
            unless it is all there is.

    Returns:
        Tokenised examples of shape [rows, length], about 512 tokens each.
    """
    end = [model.tokenizer.eos_token_id] if model.tokenizer.eos_token_id is not None else []
    encoded = model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    stream = [token for ids in encoded for token in (*ids, *end)]
    context = model.context_length or _BLOCK
    length = min(_BLOCK, context, len(stream))
    blocks = [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]
    rows = max(1, _BLOCK // length)
    grouped = [blocks[i : i + rows] for i in range(0, len(blocks), rows)]
    return [{"input_ids": g, "attention_mask": [[1] * length for _ in g]} for g in grouped]


@contextlib.contextmanager
def captured_output(quantizer: str) -> Iterator[None]:
    """Capture a quantizer's output, and show its end if it fails.

    Raises:
        MeasurementError: the quantizer failed.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except (RuntimeError, ValueError, AssertionError, KeyError) as error:
        tail = " | ".join(said.getvalue().splitlines()[-3:])
        raise MeasurementError(
            f"{quantizer} failed: {type(error).__name__}: {error} ({tail})"
        ) from error
