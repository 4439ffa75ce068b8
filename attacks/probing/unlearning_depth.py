"""The Unlearning Depth Score (arXiv 2605.24614)."""

import numpy as np
import numpy.typing as npt

LACKING = 0.05
"""Nats that a retrained model's states must cost for a layer to count as holding the fact."""


def unlearning_depth(
    unlearned: npt.NDArray[np.float64], retrained: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Unlearning depth of each fact, from 0 to 1.

    At 0 it was not removed at all; at 1 as if it had never been learned.

    A fact's layers are those where the retrained model's loss r exceeds ``LACKING``; its depth is
    the mean of clip(u / r, 0, 1) over them, weighted by r, with u the unlearned model's loss.

    Args:
        unlearned: [facts, layers], what the original loses in log-probability of the answer with
            the unlearned model's states at a layer.
        retrained: the same with a retrained model's states.

    Returns:
        [facts that have such a layer], in [0, 1].
    """
    counts = retrained > LACKING
    weight = np.where(counts, retrained, 0.0)
    share = np.clip(unlearned / np.where(counts, retrained, 1.0), 0, 1)
    held = counts.any(axis=1)
    depth: npt.NDArray[np.float64] = (share * weight).sum(1)[held] / weight.sum(1)[held]
    return depth
