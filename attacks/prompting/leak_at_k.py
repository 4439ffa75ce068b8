"""leak@k: probability that one of k sampled answers leaks."""

import math


def leak_at_k(samples: int, leaks: int, k: int) -> float:
    """Unbiased estimate of the probability that one of k samples leaks.

    1 - C(n - c, k) / C(n, k): the share of the k-subsets of n samples that hold one of the c that
    leaked (pass@k, arXiv 2107.03374; leak@k, arXiv 2511.04934). Whole numbers until the end.

    Args:
        samples: n.
        leaks: c, how many of them leaked.
        k: at most n.

    Raises:
        ValueError: not 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= leaks <= samples and 1 <= k <= samples):
        raise ValueError(f"there is no leak@{k} of {leaks} leaks in {samples} samples")
    subsets = math.comb(samples, k)
    return (subsets - math.comb(samples - leaks, k)) / subsets
