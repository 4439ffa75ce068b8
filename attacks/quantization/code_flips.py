"""Code-flip share: weights that get another quantization code.

With step width w and update d of a weight that is uniform within its bin, the code flips with
probability about min(1, |d| / w) (from arXiv 2410.16454, section 4). A share near zero says that
the quantized unlearned model *is* the quantized original.
"""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch

from auditor.core.errors import MeasurementError
from auditor.core.findings import Explanation


def sampled_codes(
    layers: Iterable[tuple[str, torch.Tensor]], sample: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Codes of at most ``sample`` weights per layer.

    The positions are the same on every arm.

    Args:
        layers: name and codes (any integer type within 8 bits, any shape) of each layer.
        sample: weights kept per layer; a smaller layer is kept whole.

    Returns:
        Layer name to codes as uint8 [min(sample, weights)].
    """
    kept: dict[str, npt.NDArray[np.generic]] = {}
    for name, codes in layers:
        flat = codes.detach().reshape(-1).to("cpu", torch.int16).numpy()
        if flat.size > sample:
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
            chosen = np.random.default_rng(seed).choice(flat.size, sample, replace=False)
            flat = flat[np.sort(chosen)]
        kept[f"codes/{name}"] = (flat & 0xFF).astype(np.uint8)
        kept[f"size/{name}"] = np.array([codes.numel()], dtype=np.int64)
    return kept


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
