"""Base of the quantization attacks on language models."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from attacks.quantization.code_flips import PackedCodes, code_flip_share, sampled_codes
from auditor.attack import Attack, AttackContext, Keep, Parameters, Requirements
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.findings import Explanation
from auditor.core.messages import Message, message
from auditor.core.records import Record
from auditor.core.roles import ControlKind
from auditor.models.grid import GridRounding
from auditor.models.kind import parse_spec, recognised
from auditor.models.language.layers import (
    is_transposed,
    linear_layers,
    text_modules,
    weight_matrices,
)
from auditor.models.language.model import LanguageModel
from auditor.models.language.placement import has_experts
from auditor.models.manifest import Location
from auditor.models.shape import FULL_PRECISION_LIMIT


class QuantizationParameters(Parameters):
    """Settings of every quantizer."""

    code_sample: int = Field(default=1 << 18, ge=1)
    """Weights per layer whose codes are kept for the code-flip share."""


P = TypeVar("P", bound=QuantizationParameters)


class Quantized(NamedTuple):
    """A quantized copy (or state) of a model."""

    model: LanguageModel
    codes: dict[str, npt.NDArray[np.generic]]
    """Sample of the layers' integer codes (`sampled_codes`)."""
    notes: dict[str, Any]


class QuantizationAttack(GridRounding, Attack[P]):
    """Round the weights and ask again."""

    requires: ClassVar[Requirements] = Requirements(full_precision=True)

    rounds_experts: ClassVar[bool] = False
    """Whether stacked experts are rounded, which no linear layer holds."""

    def unavailable(self, location: Location) -> Message | None:
        """Return why it cannot run, or None.

        Experts that no quantizer here rounds are known from the configuration: most of the model
        would stay at full precision, as `assert_covered` finds once it is loaded.
        """
        if reason := super().unavailable(location):
            return reason
        if self.rounds_experts or not has_experts(location.model):
            return None
        kind = recognised(location.model)
        if kind is None:
            return None
        shape = kind.shape(parse_spec({"path": str(location.model)}), location)
        if not shape.holds_experts:
            return None
        return message("experts_not_rounded", weights=shape.bare, share=round(shape.bare_share, 3))

    @property
    def required_control(self) -> ControlKind:
        """Kind of positive control: obfuscated where the cells are known."""
        return "visible" if self.grid is None else "obfuscated"

    @abstractmethod
    def quantized(
        self, model: LanguageModel, scratch: Path, keep: Keep | None = None
    ) -> AbstractContextManager[Quantized]:
        """Open the model with rounded weights.

        Args:
            model: The model at full precision.
            scratch: Folder for temporary files.
            keep: Where a copy is kept that takes long to make; by default in ``scratch``.

        Raises:
            MeasurementError: layers that should be quantized are not.
        """

    def sampled(
        self, layers: Iterable[tuple[str, torch.Tensor | PackedCodes]]
    ) -> dict[str, npt.NDArray[np.generic]]:
        """Return a sample of the layers' codes."""
        return sampled_codes(layers, self.parameters.code_sample)

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Examine the rounded model; keep a sample of its codes."""
        with self.quantized(model, context.scratch, context.keep) as state:
            layers = [key for key in state.codes if key.startswith("codes/")]
            notes = {"layers_quantized": len(layers), **state.notes}
            if kept := _kept_layers(state.model):
                notes["layers_at_full_precision"] = kept
            rows = context.evaluator.evaluate(state.model)
            return Record(rows=rows, notes=notes, arrays=state.codes)

    def explain(self, unlearned: Record, original: Record) -> Explanation | None:
        """Code-flip share between U and O.

        None for a format whose codes cannot be read.
        """
        if not original.arrays:
            return None
        return code_flip_share(unlearned.arrays, original.arrays)


def _kept_layers(model: LanguageModel) -> list[str]:
    """Linear layers that a deployer's loader leaves at full precision, by name."""
    return sorted(linear_layers(model.network).keys() - model.quantizable_layers().keys())


def check_group_size(network: Any, size: int) -> None:
    """Refuse a group size that leaves a rest in some layer.

    Args:
        network: The network at full precision.
        size: inputs that share a scale; -1 for all of a column, which fits everywhere.

    Raises:
        UnavailableError: it does not divide the inputs of every layer.
    """
    check_rest(linear_layers(network), size)


def check_rest(layers: Mapping[str, Any], size: int) -> None:
    """Check that a group size divides the inputs of some layers."""
    for name, layer in layers.items():
        inputs = layer.weight.shape[0 if is_transposed(layer) else 1]
        if size != -1 and (size < 1 or inputs % size):
            raise UnavailableError(
                f"groups of {size} do not divide the {inputs} inputs of {name}; give a "
                "`group_size` that divides the inputs of every layer"
            )


def assert_quantized(model: LanguageModel, expected: type[Any]) -> dict[str, Any]:
    """Return the quantized layers, and check that none is left out.

    Args:
        model: The model after quantization.
        expected: Class of the quantizer's layers.

    Raises:
        MeasurementError: the loader did not quantize what it should have; scoring the model
            would pass off its full precision as quantized.
    """
    done = {
        name: module for name, module in text_modules(model.network) if isinstance(module, expected)
    }
    left = [name for name in model.quantizable_layers() if name not in done]
    if not done or left:
        raise MeasurementError(
            f"{len(done)} layers are of class {expected.__name__} and {len(left)} are not "
            f"quantized ({', '.join(left[:3]) or 'none'}); the model was not measured"
        )
    assert_covered(model, sum(layer.in_features * layer.out_features for layer in done.values()))
    return done


def assert_covered(
    model: LanguageModel, quantized: int, experts: Collection[torch.Tensor] = ()
) -> None:
    """Check that nearly all weights outside linear layers are quantized.

    Mixture-of-experts models hold their experts as bare parameters, which most quantizers do not
    touch; embeddings, the output head, norms and biases always stay.

    Args:
        model: The model after quantization.
        quantized: weights in linear layers that were quantized.
        experts: stacked experts that were quantized.

    Raises:
        MeasurementError: more than ``FULL_PRECISION_LIMIT`` of the weights were left.
    """
    network = model.network
    covered = {id(layer.weight) for layer in linear_layers(network).values()}
    covered |= set(map(id, experts))
    quantized += sum(stack.numel() for stack in experts)
    left = {
        matrix.name: matrix.parameter.numel()
        for matrix in weight_matrices(network)
        if id(matrix.parameter) not in covered
    }
    if sum(left.values()) > FULL_PRECISION_LIMIT * (quantized + sum(left.values())):
        raise MeasurementError(
            f"{sum(left.values()):,} weights outside linear layers stay at full precision "
            f"(for example {next(iter(left))}), beside {quantized:,} quantized ones; the model "
            "was not measured"
        )
