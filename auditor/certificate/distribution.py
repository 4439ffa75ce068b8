"""Distribution of the excess of knowledge over the facts."""

import numpy as np

from auditor.certificate.parts import Part
from auditor.statistics import Arms
from auditor.statistics.betting import FloatArray

BINS = 40


class DistributionPart(Part):
    """Distribution of D over the facts.

    A mean near 0 may hide a few facts that leak whole.

    D is K of the unlearned model minus the mean K of the retrained models. Each count is of
    facts in one of 40 bins of equal width from -1 to 1; a bin holds its lower edge, the last both.
    """

    unlearned: tuple[int, ...]
    retrained: tuple[int, ...] | None
    """The same counts with the first retrained model in place of the unlearned one, against the
    others: what chance alone does. Null with one retrained model."""


def distribution(arms: Arms | None) -> DistributionPart | None:
    """Count the facts by D of the unlearned model.

    The same is counted for a retrained model against the others.

    Returns:
        None where the attack was not measured.
    """
    if arms is None:
        return None
    retrained = arms.retrained
    several = len(retrained) > 1
    return DistributionPart(
        unlearned=_counts(arms.fact_contrast().d),
        retrained=_counts(retrained[0] - retrained[1:].mean(axis=0)) if several else None,
    )


def _counts(excess: FloatArray) -> tuple[int, ...]:
    counts, _ = np.histogram(excess, bins=BINS, range=(-1.0, 1.0))
    return tuple(int(count) for count in counts)
