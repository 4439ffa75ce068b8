"""Separation of members and non-members by a score.

It is given by the AUC, and by hits at few false alarms.

Members are the positive class and a higher score means "more of a member", so 0.5 is chance and
1 is a score that never fails. Ties count half.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from auditor.statistics.betting import FloatArray, finite_vector
from auditor.statistics.leak_rate import clopper_pearson_upper

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Area:
    """Area under the ROC curve with its two-sided DeLong interval.

    Attributes:
        value: the area; the chance that a member outscores a non-member, ties half.
        lower: lower bound, at least 0; None where the components do not vary.
        upper: upper bound, at most 1; None likewise.
    """

    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class OperatingPoint:
    """Share of members above a threshold that lets few non-members through.

    Attributes:
        false_positive_rate: what the threshold keeps to, with confidence 95 %.
        threshold: a score above it is called a member.
        rate: share of members above it.
        lower: Clopper-Pearson bound on that share, two-sided at 95 %.
        upper: likewise.
        false_positives: non-members of the other half above the threshold.
        checked: non-members in the other half.
    """

    false_positive_rate: float
    threshold: float
    rate: float
    lower: float
    upper: float
    false_positives: int
    checked: int


def placements(scores: ArrayLike, others: ArrayLike) -> FloatArray:
    """Return the share of `others` [n] below each score [m].

    Ties count half.

    Of members against non-members these are DeLong's structural components V10, whose mean is
    the area under the ROC curve.

    Raises:
        ValueError: `others` is empty, or something is not finite.
    """
    asked, sorted_others = finite_vector(scores, "scores"), np.sort(finite_vector(others, "others"))
    if not sorted_others.size:
        raise ValueError("there are no others to be placed among")
    below = np.searchsorted(sorted_others, asked, "left")
    not_above = np.searchsorted(sorted_others, asked, "right")
    return np.asarray((below + not_above) / (2 * sorted_others.size), dtype=np.float64)


def area_under_curve(
    members: ArrayLike,
    nonmembers: ArrayLike,
    member_clusters: Sequence[str] | None = None,
    nonmember_clusters: Sequence[str] | None = None,
) -> Area:
    """Return the AUC of members against non-members, with bounds.

    Members are [m], non-members [n].

    Args:
        members: scores of the positive class.
        nonmembers: scores of the negative class.
        member_clusters: what each member belongs to, where members of one cluster are not
            independent; clusters must not span both classes.
        nonmember_clusters: the same of the non-members.
    """
    return area_of_components(
        placements(members, nonmembers),
        1.0 - placements(nonmembers, members),
        member_clusters,
        nonmember_clusters,
    )


def area_of_components(
    v10: ArrayLike,
    v01: ArrayLike,
    member_clusters: Sequence[str] | None = None,
    nonmember_clusters: Sequence[str] | None = None,
) -> Area:
    """Return the AUC with DeLong's interval from its structural components.

    The variance is var(V10) / m + var(V01) / n (DeLong, DeLong & Clarke-Pearson 1988), with
    sums over clusters in place of single components where clusters are given (Obuchowski 1997).
    The interval is Wald's, cut to [0, 1]. Components that were averaged over several scores of
    the same items give the interval of the average AUC.

    Args:
        v10: share of non-members that each member beats [m].
        v01: share of members that each non-member is beaten by [n].
        member_clusters: cluster of each member.
        nonmember_clusters: cluster of each non-member.

    Returns:
        Bounds are None where the variance is 0, as with complete separation: there the
        interval would have no width whatever the sample, which is no statement.
    """
    first, second = finite_vector(v10, "v10"), finite_vector(v01, "v01")
    if not first.size or not second.size:
        raise ValueError("an AUC needs members and non-members")
    area = float(first.mean())
    variance = _variance_of_mean(first, member_clusters)
    variance += _variance_of_mean(second, nonmember_clusters)
    if not variance > 0:
        return Area(area, None, None)
    half = float(ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Area(area, max(0.0, area - half), min(1.0, area + half))


def nonmembers_needed(false_positive_rate: float) -> int:
    """Return the number of non-members that shows a low rate.

    So many without a false alarm show at 95 % that the rate is as low.

    (1 - rate)^n <= 0.05: 299 for 1 %, 2,995 for 0.1 %.
    """
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"a false positive rate lies between 0 and 1, not {false_positive_rate}")
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-false_positive_rate))


def operating_point(
    members: ArrayLike, calibration: ArrayLike, check: ArrayLike, false_positive_rate: float
) -> OperatingPoint | None:
    """Return the true positive rate at a shown false positive rate.

    The false positive rate is shown, not estimated.

    The threshold is the lowest score of `calibration` above which so few of it lie that the
    Clopper-Pearson upper bound (one-sided, 95 %) is at most `false_positive_rate`; as an order
    statistic it keeps to that rate with that confidence whatever the distribution (Wilks 1941).

    Args:
        members: scores [m].
        calibration: scores of the non-members that set the threshold.
        check: scores of other non-members, counted above it and used for nothing else.
        false_positive_rate: what to keep to.

    Returns:
        None where `calibration` is smaller than `nonmembers_needed`.
    """
    scores, held = finite_vector(members, "members"), finite_vector(calibration, "calibration")
    others = finite_vector(check, "check")
    if not scores.size:
        raise ValueError("a true positive rate needs members")
    if held.size < nonmembers_needed(false_positive_rate):
        return None
    let_through = 0
    while _upper(let_through + 1, held.size) <= false_positive_rate:
        let_through += 1
    threshold = float(np.sort(held)[held.size - 1 - let_through])
    hits = int((scores > threshold).sum())
    lower, upper = clopper_pearson(hits, scores.size)
    return OperatingPoint(
        false_positive_rate=false_positive_rate,
        threshold=threshold,
        rate=hits / scores.size,
        lower=lower,
        upper=upper,
        false_positives=int((others > threshold).sum()),
        checked=others.size,
    )


def clopper_pearson(count: int, n: int) -> tuple[float, float]:
    """Return the exact two-sided interval of a binomial share.

    The confidence is 95 %.

    ``scipy.stats.binomtest`` gives the same numbers; importing ``scipy.stats`` takes half a second,
    which every ``gate`` and ``verify`` would wait for.
    """
    alpha = (1 - CONFIDENCE) / 2
    return 1.0 - clopper_pearson_upper(n - count, n, alpha), clopper_pearson_upper(count, n, alpha)


def _upper(count: int, n: int) -> float:
    return clopper_pearson_upper(count, n, 1 - CONFIDENCE)


def _variance_of_mean(components: FloatArray, clusters: Sequence[str] | None) -> float:
    """Return the variance of the mean of components [n].

    Those of one cluster may be dependent.

    Infinite with a single component or cluster: one says nothing of the spread.
    """
    deviations = components - components.mean()
    if clusters is not None:
        if len(clusters) != components.size:
            raise ValueError("every component needs its cluster")
        _, of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        deviations = np.bincount(of, weights=deviations)
    units = int(deviations.size)
    if units < 2:
        return math.inf
    squares = float((deviations**2).sum())
    return squares * units / (units - 1) / float(components.size) ** 2
