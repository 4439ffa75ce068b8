"""Code-flip share: weights that get another quantization code.

With step width w and update d of a weight that is uniform within its bin, the code flips with
probability about min(1, |d| / w) (from arXiv 2410.16454, section 4). A share near zero says that
the quantized unlearned model *is* the quantized original.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auditor.core.errors import MeasurementError
from auditor.core.findings import Explanation


class PackedCodes(ABC):
    """Codes of a layer, several to a word.

    They are read one by one: most of them are never asked for.
    """

    @abstractmethod
    def numel(self) -> int:
        """Number of codes."""

    @abstractmethod
    def take(self, places: Tensor) -> Tensor:
        """Return some codes [n].

        Args:
            places: their places in the flattened codes, [n] int64.
        """


def sampled_codes(
    layers: Iterable[tuple[str, Tensor | PackedCodes]], sample: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Codes of at most ``sample`` weights per layer.

    The positions are the same on every arm. They are chosen where the codes lie, so that no others
    are moved or unpacked, and no layer is held for longer than it takes.

    Args:
        layers: name and codes (any integer type within 8 bits, any shape) of each layer.
        sample: weights kept per layer; a smaller layer is kept whole.

    Returns:
        Layer name to codes as uint8 [min(sample, weights)].
    """
    kept: dict[str, npt.NDArray[np.generic]] = {}
    for name, codes in layers:
        places = torch.from_numpy(_places(name, codes.numel(), sample))
        if isinstance(codes, PackedCodes):
            chosen = codes.take(places)
        else:
            flat = codes.detach().reshape(-1)
            chosen = flat[places.to(flat.device)]
        kept[f"codes/{name}"] = (chosen.to("cpu", torch.int16).numpy() & 0xFF).astype(np.uint8)
        kept[f"size/{name}"] = np.array([codes.numel()], dtype=np.int64)
    return kept


def _places(name: str, size: int, sample: int) -> npt.NDArray[np.int64]:
    """Places that are kept of a layer, in order."""
    if size <= sample:
        return np.arange(size)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.sort(np.random.default_rng(seed).choice(size, sample, replace=False))


def code_flip_share(
    unlearned: Mapping[str, npt.NDArray[np.generic]],
    original: Mapping[str, npt.NDArray[np.generic]],
) -> Explanation:
    """Share of weights with another code, per layer and overall.

    The overall share is weighted by layer size.

    Raises:
        MeasurementError: the two models do not have the same layers.
    """
    if unlearned.keys() != original.keys():
        raise MeasurementError("the quantized layers of unlearned and original model differ")
    layers: dict[str, float] = {}
    weights: dict[str, int] = {}
    for key in unlearned:
        kind, _, name = key.partition("/")
        if kind != "codes":
            continue
        if unlearned[key].shape != original[key].shape:
            raise MeasurementError(f"layer {name} has another size in the original model")
        layers[name] = float(np.mean(unlearned[key] != original[key]))
        weights[name] = int(unlearned[f"size/{name}"][0])
    total = sum(weights.values())
    overall = sum(share * weights[name] for name, share in layers.items()) / total
    return Explanation(measure="code_flip_share", overall=overall, layers=layers)
