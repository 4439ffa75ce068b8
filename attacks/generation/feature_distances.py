"""Distances of drawn pictures from given ones, in features of a network.

Both distances are torchmetrics', which is imported when it is needed: it takes seconds.
"""

import warnings

import torch
from torch import Tensor, nn

from auditor.core.errors import MeasurementError


class _Given(nn.Module):
    """Stands where torchmetrics has its network: the features are there already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        """The features as they are."""
        return features


def frechet_distance(real: Tensor, drawn: Tensor) -> float:
    """Fréchet distance of two normal distributions fitted to features (FID, arXiv 1706.08500).

    It is biased upwards, the more so the fewer pictures there are (arXiv 1801.01401).

    Args:
        real: [n, width], two rows or more.
        drawn: [m, width], likewise.

    Raises:
        MeasurementError: it is not finite.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(drawn.double(), real=False)
    return _finite("FID", metric.compute())


def kernel_distance(real: Tensor, drawn: Tensor, subsets: int, size: int, seed: int) -> float:
    """Squared maximum mean discrepancy under a cubic kernel (KID, arXiv 1801.01401), unbiased.

    Args:
        real: [n, width].
        drawn: [m, width].
        subsets: random subsets that it is averaged over; one where a subset takes all rows.
        size: rows of a subset, two or more; at most the smaller of n and m.
        seed: seed of the subsets.

    Raises:
        MeasurementError: it is not finite.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    whole = size == len(real) == len(drawn)
    with warnings.catch_warnings():
        # that it keeps all features in memory, which are here already
        warnings.filterwarnings("ignore", message=".*save all extracted features.*")
        metric = KernelInceptionDistance(
            feature=_Given(real.shape[1]), subsets=1 if whole else subsets, subset_size=size
        )
    metric.update(real.double(), real=True)
    metric.update(drawn.double(), real=False)
    devices = list(range(torch.cuda.device_count()))  # seeded too
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        mean, _ = metric.compute()
    return _finite("KID", mean)


def _finite(name: str, value: Tensor) -> float:
    if not torch.isfinite(value):
        raise MeasurementError(f"{name} is not finite")
    return float(value)
