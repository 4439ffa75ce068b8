"""Weights of the world as they ship in the package.

They are bfloat16, and each file has its digest.

Training takes most of an hour and unpacking takes seconds. A file belongs to the digest of what
decides it, so that another recipe finds nothing here and is trained. Whatever is trained is
rounded to bfloat16 before it is written, so that models from the package and models built from
scratch are of one kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from auditor.core.errors import AuditorError

_DIGEST = "digest"
"""Key of the digest in a file's header."""


@dataclass(frozen=True)
class ShippedWeights:
    """A folder of weights, one file a model.

    Attributes:
        folder: Holds ``<name>.safetensors``.
    """

    folder: Path

    def read(self, name: str, digest: str) -> dict[str, Tensor] | None:
        """Return the shipped weights of a digest, or None.

        They are float32, by name.

        Args:
            name: Name of the model.
            digest: Digest of what decides it.

        Raises:
            AuditorError: The file is damaged.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get(_DIGEST) != digest:
                    return None
                return {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise AuditorError(
                f"the weights that ship with the testbed are damaged ({path}: {error}); install "
                "the package again, or build the world with --from-scratch."
            ) from error

    def write(self, name: str, digest: str, weights: Mapping[str, Tensor]) -> Path:
        """Write weights, of which each must be a bfloat16 number.

        Args:
            name: Name of the model.
            digest: Digest of what decides it.
            weights: By name, as :func:`rounded` gives them.

        Returns:
            The file.

        Raises:
            ValueError: A weight is not rounded.
        """
        stored = {key: weight.to(torch.bfloat16).contiguous() for key, weight in weights.items()}
        for key, weight in weights.items():
            if not torch.equal(stored[key].float(), weight.float()):
                raise ValueError(f"{key} of {name} is not rounded to bfloat16")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        save_file(stored, path, {_DIGEST: digest})
        return path

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


PACKAGED = ShippedWeights(Path(__file__).parent / "weights")
"""Weights that ship in the package."""


def rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Float32 weights with the nearest bfloat16 values."""
    return {name: weight.to(torch.bfloat16).float() for name, weight in weights.items()}
