"""Inception's features, in which published FIDs and KIDs are measured."""

import importlib
from pathlib import Path

import torch
from torch import Tensor

from auditor.core.errors import MeasurementError
from auditor.models.batching import run_batched
from auditor.models.devices import first_device
from auditor.models.text_to_image.state_dicts import read_tensors

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""Name under which torch-fidelity publishes the weights of the first FID (arXiv 1706.08500)."""

_BATCH = 16
_POOLED = "2048"
"""The features of the last pooling."""


@torch.no_grad()
def inception_features(images: Tensor, weights: Path, scratch: Path) -> Tensor:
    """Last pooled features of Inception v3, as FID uses them.

    They are [n, 2048] float32 on the CPU.

    Args:
        images: [n, 3, height, width] in [0, 1], two or more.
        weights: a state dict, as safetensors or as a pickle of tensors and nothing else.
        scratch: folder for a temporary file.

    Raises:
        AuditorError: the file is a pickle with more in it than tensors.
        MeasurementError: the weights are another network's, or a feature is not finite.
    """
    library = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    # torch-fidelity would run whatever is in a pickle: it gets one that is written here
    safe = scratch / "inception.pth"
    torch.save(read_tensors(weights), safe)
    try:
        network = library.FeatureExtractorInceptionV3(
            "inception-v3-compat", [_POOLED], feature_extractor_weights_path=str(safe)
        )
    except (RuntimeError, KeyError) as error:
        raise MeasurementError(
            f"{weights} does not hold torch-fidelity's Inception ({str(error)[:300]})"
        ) from error
    finally:
        safe.unlink()
    device = first_device()
    network = network.eval().to(device)
    pixels = (images * 255).round().clamp(0, 255).to(torch.uint8)

    def run(batch: list[int]) -> list[Tensor]:
        return list(network(pixels[batch].to(device))[0].to("cpu", torch.float32))

    found = torch.stack(run_batched([1] * len(pixels), _BATCH, run))
    if not torch.isfinite(found).all():
        raise MeasurementError("an Inception feature is not finite")
    return found
