"""A two-sided interval for the mean of differences, valid at every n."""

import numpy as np
from numpy.typing import ArrayLike

from auditor.statistics import mean_lower


def mean_interval(differences: ArrayLike, reach: float, alpha: float) -> tuple[float, float]:
    """Returns the confidence interval of a mean, at confidence 1 - alpha.

    Each side is a betting bound at alpha / 2 (Waudby-Smith & Ramdas, arXiv 2010.09686), the
    upper one by mirroring, so that swapping what is subtracted mirrors the interval.

    Args:
        differences: values [n], each in [-reach, reach].
        reach: the largest absolute value that a difference can have.
        alpha: chance that the interval misses the true mean.

    Raises:
        ValueError: a value is not finite, or beyond `reach`.
    """
    scaled = np.asarray(differences, dtype=np.float64) / reach
    return reach * mean_lower(scaled, alpha / 2), -reach * mean_lower(-scaled, alpha / 2)
