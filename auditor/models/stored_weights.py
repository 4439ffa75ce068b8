"""Files as a source from which a model's weights are restored."""

import torch
from safetensors import safe_open
from torch import Tensor

from auditor.models.manifest import Location
from auditor.models.stored_tensors import stored_tensors
from auditor.models.tensor_digests import tensor_digest


class StoredWeights:
    """Weights of a model's safetensors files, by their names in its network.

    What a file says is taken for a weight only where it has the same bits, in the weight's type:
    not where it was merged, renamed, put together or rounded on its way into the network.

    Args:
        location: The model's files.
        prefix: Part of the names that files may leave out.
    """

    def __init__(self, location: Location, prefix: str = "") -> None:
        stored = stored_tensors(location)
        self._places = {
            name: (tensor.file, key.rpartition("/")[2])
            for key, tensor in stored.items()
            for name in _names(key, prefix)
        }
        self._digests: dict[tuple[str, torch.dtype], str] = {}

    def holds(self, name: str, weight: Tensor, digest: str) -> bool:
        """Return whether a file holds a weight, bit for bit.

        Args:
            name: Name in the network.
            weight: The weight.
            digest: Its digest.
        """
        key = name, weight.dtype
        if name in self._places and key not in self._digests:
            self._digests[key] = tensor_digest(self.read(name).to(weight.dtype))
        return self._digests.get(key) == digest

    def read(self, name: str) -> Tensor:
        """Return what a file holds, mapped into memory."""
        file, stored = self._places[name]
        with safe_open(file, framework="pt") as opened:  # opened for each, and let go with it
            found: Tensor = opened.get_tensor(stored)
        return found


def _names(key: str, prefix: str) -> list[str]:
    """Names that a stored tensor may have in a network."""
    folder, _, name = key.rpartition("/")
    full = f"{folder}.{name}" if folder else name
    return [full, f"{prefix}.{full}"] if prefix else [full]
