"""Sizes of a model's network, known without reading a weight."""

import math
from pathlib import Path
from typing import NamedTuple

from auditor.models.checkpoint_files import quantization_method

FULL_PRECISION_LIMIT = 0.05
"""Share of a model's weights, embeddings and head aside, that may escape quantization."""


class Shape(NamedTuple):
    """Sizes of a model's network."""

    parameters: int
    """Number of its weights."""
    stored: int
    """Bytes of its weights' files."""
    loaded: int
    """Bytes of its weights in memory."""
    linear: int
    """Number of weights in the linear layers that quantizers round."""
    bare: int = 0
    """Number of weights in matrices that no linear layer holds: stacked experts."""
    active: int = 0
    """Number of weights that one token goes through."""
    embeddings: int = 0
    """Number of weights of the embeddings of tokens and of the output head, where it is apart."""
    sides: int = 0
    """Sum of the inputs and outputs of all matrices, to which low-rank adapters are added."""
    layers: int = 1
    """Number of its blocks."""
    width: int = 0
    """Size of the states between blocks."""
    vocabulary: int = 0
    """Number of tokens that it predicts."""
    cache: int = 0
    """Numbers that attention keeps of one token in all blocks."""

    @property
    def bare_share(self) -> float:
        """Share of the weights that no linear layer holds.

        Embeddings and head are left aside.
        """
        return self.bare / max(1, self.linear + self.bare)

    @property
    def holds_experts(self) -> bool:
        """Whether that is more than may escape quantization."""
        return self.bare_share > FULL_PRECISION_LIMIT

    @property
    def itemsize(self) -> float:
        """Bytes of a weight in memory."""
        return self.loaded / max(1, self.parameters)


def stored_shape(folder: Path) -> Shape:
    """Return the shape that the headers of weight files alone tell."""
    parameters, size = weights_size(folder)
    return Shape(parameters, size, size, linear=parameters, active=parameters)


def weights_size(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of the weights in a folder, from the headers."""
    from safetensors import safe_open

    parameters = size = 0
    for file in sorted(folder.glob("*.safetensors")):
        size += file.stat().st_size
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                parameters += math.prod(tensors.get_slice(name).get_shape())
    if quantization_method(folder):
        parameters *= 2
    if not parameters:
        size = sum(file.stat().st_size for file in _pickled(folder))
        parameters = size // 2
    return parameters, size


def _pickled(directory: Path) -> list[Path]:
    return [*directory.glob("*.bin"), *directory.glob("*.pt")]
