"""Tensors of GGUF files, read back from their rounding."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from auditor.models.checkpoint_files import read_json
from auditor.models.gguf_header import read_header
from auditor.models.manifest import Location


class GGUFTensors:
    """Tensors of a GGUF file, in the layout of its network.

    They are named as in the file; `named` says which one belongs to a name in the network.
    """

    def __init__(self, location: Location) -> None:
        """Read the names of the tensors.

        Args:
            location: A model that is a GGUF file.

        Raises:
            AuditorError: The file is not whole.
        """
        if location.gguf is None:
            raise TypeError(f"{location.model} is no GGUF file")
        header = read_header(location.gguf)  # before a library that believes all of it
        from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map
        from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

        processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)
        self._processor = processor(config=read_json(location.model / "config.json"))
        self._tensors = {tensor.name: tensor for tensor in GGUFReader(location.gguf).tensors}
        numbers = {name: number for number, name in MODEL_ARCH_NAMES.items()}
        number, layers = numbers.get(header.architecture), header.own.get("block_count")
        self._names = None if number is None or not layers else get_tensor_name_map(number, layers)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._tensors)

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of a name."""
        return name in self._tensors

    def named(self, name: str) -> str | None:
        """Return the file's name of a tensor of the network, or None."""
        if self._names is None:
            return None
        found = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        return found if found in self._tensors else None

    def read(self, name: str) -> Tensor | None:
        """Read one tensor; None where the network holds it along with others."""
        from gguf import dequantize

        tensor = self._tensors[name]
        weights = dequantize(tensor.data, tensor.tensor_type)
        found = self._processor.process(weights, name, parsed_parameters={"tensors": {}})
        return None if found.name is None else torch.from_numpy(np.copy(found.weights))
