"""Forget quality, the field's usual figure.

It is shown beside the verdict, never used for it.

A Kolmogorov-Smirnov test that finds no difference is read there as "forgotten". It is the
wrong way round: few facts, or a noisy metric, make it find nothing.
"""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from auditor.statistics.betting import finite_vector


@dataclass(frozen=True)
class ForgetQuality:
    """Two-sample Kolmogorov-Smirnov test between the unlearned and the retrained model.

    Attributes:
        p_value: two-sided p-value; TOFU calls it the forget quality.
        statistic: largest distance between the two distribution functions, in [0, 1].
        unlearned: number of facts measured on the unlearned model.
        retrained: number of facts measured on the retrained model.
    """

    p_value: float
    statistic: float
    unlearned: int
    retrained: int


def forget_quality(unlearned: ArrayLike, retrained: ArrayLike) -> ForgetQuality:
    """Returns the forget quality of TOFU (arXiv 2401.06121).

    Args:
        unlearned: truth ratio per fact [n]; any monotone transform gives the same answer.
        retrained: truth ratio per fact of the model retrained without the data [m].

    Raises:
        ValueError: an arm is empty, not one-dimensional or not finite.
    """
    left, right = finite_vector(unlearned, "unlearned"), finite_vector(retrained, "retrained")
    if not left.size or not right.size:
        raise ValueError("forget quality needs at least one fact in each arm")
    from scipy.stats import ks_2samp  # half a second, which only this test is worth

    result = ks_2samp(left, right, alternative="two-sided", method="auto")
    return ForgetQuality(float(result.pvalue), float(result.statistic), left.size, right.size)
