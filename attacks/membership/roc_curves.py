"""ROC curves as they are drawn: single, averaged, thinned."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from auditor.statistics.betting import FloatArray

MOST_POINTS = 101
"""Points of a curve that is to be drawn."""
_STRAIGHT = 1e-12
"""Area between two neighbouring pieces of a curve below which they are one straight line. A corner
of 100,000 members and as many non-members has 1e-10."""


def roc_curve(members: ArrayLike, nonmembers: ArrayLike) -> FloatArray:
    """Return the ROC curve [p, 2] for falling thresholds t.

    A text counts as a member where its score is at least t.

    Its columns are the false and the true positive rate.

    It begins at (0, 0), has a point for each score that occurs, and ends at (1, 1). Tied members
    and non-members make a slanted piece, so that the trapezoids below it are the area in which
    ties count half.

    Raises:
        ValueError: there are no members or no non-members, or something is not finite.
    """
    from sklearn import metrics  # brings in scipy.stats, which takes a second

    scores = np.concatenate([np.asarray(members, float), np.asarray(nonmembers, float)])
    labels = np.repeat([1, 0], [np.size(members), np.size(nonmembers)])
    if not 0 < labels.sum() < labels.size:
        raise ValueError("a ROC curve needs members and non-members")
    # all points: `drop_intermediate` keeps points on a straight line whose steps differ in length,
    # and the mean of several curves is taken before any are dropped
    alarms, hits, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    return np.column_stack([alarms, hits])


def mean_roc_curve(curves: Sequence[FloatArray]) -> FloatArray:
    """Return the mean curve by false positive rate (Fawcett 2006, 8.1).

    The area below it is the mean of the areas, since it keeps the curves' vertical pieces.

    Args:
        curves: each as :func:`roc_curve` returns it.
    """
    rates = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    limits = np.mean([_limits(curve, rates) for curve in curves], axis=0)
    heights = np.maximum.accumulate(limits.ravel())  # rounding must not lead it down again
    return np.column_stack([np.repeat(rates, 2), heights])


def roc_corners(curve: FloatArray) -> FloatArray:
    """Return the corners of a ROC curve and its two ends.

    They are the same curve.
    """
    moved = np.append(True, (np.diff(curve, axis=0) != 0).any(axis=1))
    points = curve[moved]
    steps = np.diff(points, axis=0)
    before, after = steps[:-1], steps[1:]
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > _STRAIGHT
    return np.asarray(points[np.concatenate([[True], turns, [True]])])


def thinned_roc_curve(curve: FloatArray, most: int = MOST_POINTS) -> FloatArray:
    """Return at most ``most`` corners, the first and last among them.

    If there are more, a third of what is kept are the first ones, where false alarms are fewest;
    another third lie evenly along the curve with the false positive rate on a logarithmic scale,
    and the last along the curve as it is. The area below changes by no more than half of the
    rectangles between neighbouring points.

    Args:
        curve: curve as :func:`roc_curve` or :func:`mean_roc_curve` returns it.
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


def _limits(curve: FloatArray, rates: FloatArray) -> FloatArray:
    """True positive rates beside each false positive rate, [rates, 2].

    The first is just below it, the second just above.
    """
    own, first = np.unique(curve[:, 0], return_index=True)
    lowest, highest = curve[first, 1], curve[np.append(first[1:], len(curve)) - 1, 1]
    at = np.searchsorted(own, rates)  # the point at or above each rate
    before = np.maximum(at - 1, 0)
    width = np.where(at > before, own[at] - own[before], 1.0)
    share = (rates - own[before]) / width
    between = highest[before] + share * (lowest[at] - highest[before])
    on = own[at] == rates
    return np.column_stack([np.where(on, lim[at], between) for lim in (lowest, highest)])
