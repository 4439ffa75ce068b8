"""How well a score tells members from non-members: AUC, and hits at few false alarms.

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
MOST_POINTS = 101
"""Points of a curve that is to be drawn."""
_STRAIGHT = 1e-12
"""Area between two neighbouring pieces of a curve below which they are one straight line. A corner
of 100,000 members and as many non-members has 1e-10."""


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
    """Returns for each of `scores` [m] the share of `others` [n] below it, ties half.

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
    """Returns the AUC of scores of members [m] against those of non-members [n], with bounds.

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
    """Returns the AUC with DeLong's interval from its structural components.

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


def roc_curve(members: ArrayLike, nonmembers: ArrayLike) -> FloatArray:
    """Returns the ROC curve [p, 2]: false and true positive rate of "score >= t" for falling t.

    It begins at (0, 0), has a point for each score that occurs, and ends at (1, 1). Tied members
    and non-members make a slanted piece, so that the trapezoids below it are the area in which
    ties count half.

    Raises:
        ValueError: there are no members or no non-members, or something is not finite.
    """
    positive = np.sort(finite_vector(members, "members"))
    negative = np.sort(finite_vector(nonmembers, "nonmembers"))
    if not positive.size or not negative.size:
        raise ValueError("a ROC curve needs members and non-members")
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    rates = [(s.size - np.searchsorted(s, thresholds)) / s.size for s in (negative, positive)]
    return np.vstack([np.zeros(2), np.column_stack(rates)])


def mean_roc_curve(curves: Sequence[FloatArray]) -> FloatArray:
    """Returns the mean of ROC curves at each false positive rate (Fawcett 2006, section 8.1).

    The area below it is the mean of the areas, since it keeps the curves' vertical pieces.

    Args:
        curves: each as `roc_curve` returns it.
    """
    rates = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    limits = np.mean([_limits(curve, rates) for curve in curves], axis=0)
    heights = np.maximum.accumulate(limits.ravel())  # rounding must not lead it down again
    return np.column_stack([np.repeat(rates, 2), heights])


def roc_corners(curve: FloatArray) -> FloatArray:
    """Returns the points of a ROC curve at which it turns, and its two ends: the same curve."""
    moved = np.append(True, (np.diff(curve, axis=0) != 0).any(axis=1))
    points = curve[moved]
    steps = np.diff(points, axis=0)
    before, after = steps[:-1], steps[1:]
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > _STRAIGHT
    return np.asarray(points[np.concatenate([[True], turns, [True]])])


def thinned_roc_curve(curve: FloatArray, most: int = MOST_POINTS) -> FloatArray:
    """Returns at most `most` of the corners of a ROC curve, the first and the last among them.

    If there are more, a third of what is kept are the first ones, where false alarms are fewest;
    another third lie evenly along the curve with the false positive rate on a logarithmic scale,
    and the last along the curve as it is. The area below changes by no more than half of the
    rectangles between neighbouring points.

    Args:
        curve: as `roc_curve` or `mean_roc_curve` returns it.
        most: at least 10.
    """
    if most < 10:
        raise ValueError(f"a curve cannot be shown by {most} points")
    corners = roc_corners(curve)
    if len(corners) <= most:
        return corners
    alarms, hits = corners.T
    least = alarms[alarms > 0].min()
    logarithmic = np.log(np.maximum(alarms, least) / least) / -np.log(least)
    first, rest = most // 3, most - most // 3
    kept = [np.arange(first)]
    for along, count in ((logarithmic, rest // 2), (alarms, rest - rest // 2)):
        length = along + hits
        kept.append(np.searchsorted(length, np.linspace(length[0], length[-1], count)))
    return corners[np.unique(np.concatenate(kept))]


def nonmembers_needed(false_positive_rate: float) -> int:
    """Returns how many non-members without a false alarm show at 95 % that the rate is as low.

    (1 - rate)^n <= 0.05: 299 for 1 %, 2,995 for 0.1 %.
    """
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"a false positive rate lies between 0 and 1, not {false_positive_rate}")
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-false_positive_rate))


def operating_point(
    members: ArrayLike, calibration: ArrayLike, check: ArrayLike, false_positive_rate: float
) -> OperatingPoint | None:
    """Returns the true positive rate at a false positive rate that is shown, not estimated.

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
    """Returns the exact two-sided interval of a binomial share, at confidence 95 %."""
    alpha = (1 - CONFIDENCE) / 2
    return 1.0 - clopper_pearson_upper(n - count, n, alpha), clopper_pearson_upper(count, n, alpha)


def _limits(curve: FloatArray, rates: FloatArray) -> FloatArray:
    """True positive rates just below and just above each false positive rate, [rates, 2]."""
    own, first = np.unique(curve[:, 0], return_index=True)
    lowest, highest = curve[first, 1], curve[np.append(first[1:], len(curve)) - 1, 1]
    at = np.searchsorted(own, rates)  # the point at or above each rate
    before = np.maximum(at - 1, 0)
    width = np.where(at > before, own[at] - own[before], 1.0)
    share = (rates - own[before]) / width
    between = highest[before] + share * (lowest[at] - highest[before])
    on = own[at] == rates
    return np.column_stack([np.where(on, lim[at], between) for lim in (lowest, highest)])


def _upper(count: int, n: int) -> float:
    return clopper_pearson_upper(count, n, 1 - CONFIDENCE)


def _variance_of_mean(components: FloatArray, clusters: Sequence[str] | None) -> float:
    """Variance of the mean of components [n], of which those of one cluster may be dependent.

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
