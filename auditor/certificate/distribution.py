"""How the excess of knowledge is spread over the facts."""

import numpy as np
import numpy.typing as npt

from auditor.certificate.case import Case, Trial
from auditor.certificate.row import DistributionPart

BINS = 40


def distribution(case: Case, trial: Trial) -> DistributionPart | None:
    """Facts by D, for the unlearned model and, against the others, for a retrained one.

    None where any fact was not measured on any arm.
    """
    table = case.matrix(trial, case.compared, "forget") if trial.status == "measured" else None
    if table is None:
        return None
    unlearned, retrained = table[0], table[2:]
    return DistributionPart(
        unlearned=_counts(unlearned - retrained.mean(axis=0)),
        retrained=_counts(retrained[0] - retrained[1:].mean(axis=0))
        if len(retrained) > 1
        else None,
    )


def _counts(excess: npt.NDArray[np.float64]) -> tuple[int, ...]:
    counts, _ = np.histogram(excess, bins=BINS, range=(-1.0, 1.0))
    return tuple(int(count) for count in counts)
