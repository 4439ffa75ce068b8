"""The figures by which MACE compares erasures (arXiv 2403.06135)."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from auditor.core.messages import Message, message


class ErasureAccuracies(NamedTuple):
    """Mean probabilities that a classifier gives to what pictures should show.

    None is unmeasured.

    MACE's text calls them accuracies, and so does this project where it reports them.
    """

    erased: float
    """Acc_e: the erased concept, asked for by its own name. Lower is better (efficacy)."""
    kept: float | None
    """Acc_s: the other concepts. Higher is better (specificity)."""
    synonyms: float | None
    """Acc_g: the erased concept, asked for by synonyms. Lower is better (generality)."""

    @property
    def harmonic_mean(self) -> float | None:
        """Return H_o, the harmonic mean; higher is better.

        H_o = 3 / ((1 - Acc_e)^-1 + Acc_s^-1 + (1 - Acc_g)^-1).

        None where a part is missing, or is 0, where it is not defined.
        """
        if self.kept is None or self.synonyms is None:
            return None
        parts = (1 - self.erased, self.kept, 1 - self.synonyms)
        if min(parts) <= 0:
            return None
        return 3 / math.fsum(1 / part for part in parts)

    def missing(self) -> Iterator[Message]:
        """Reasons why figures are missing."""
        if self.kept is None:
            yield message("no_acc_s")
        if self.synonyms is None:
            yield message("no_acc_g")
        if self.harmonic_mean is None:
            if self.kept is None or self.synonyms is None:
                yield message("no_h_o_without_parts")
            else:
                yield message("no_h_o_of_zero")
