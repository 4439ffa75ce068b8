"""The learning rate with which a model learns what it is taught."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from auditor.core.errors import MeasurementError, MemoryExhaustedError

ENOUGH = 0.8
"""Share of the best K of the taught facts that a rate must reach. Of those that do the lowest is
taken: it teaches as well, and disturbs least what is not taught."""


class Trial(NamedTuple):
    """Trial of a training at one rate."""

    rate: float
    taught: float
    """Mean K of taught facts afterwards."""


def chosen_rate(attempt: Callable[[float], float], rates: Sequence[float]) -> tuple[Trial, ...]:
    """Try rates on what is taught alone, and choose one.

    They are tried from the lowest on, as long as a higher one could be chosen: K is at most 1, so
    a rate that reaches ``ENOUGH`` itself is chosen. One at which the training diverges ends the
    trials.

    Args:
        attempt: trains at a rate and says the mean K of taught facts afterwards.
        rates: rates in any order.

    Returns:
        What each rate that was tried taught, the chosen one last.

    Raises:
        MeasurementError: the training diverges at every rate.
    """
    trials: list[Trial] = []
    for rate in sorted(rates):
        try:
            trials.append(Trial(rate, attempt(rate)))
        except MemoryExhaustedError:  # no rate would have gone better
            raise
        except MeasurementError:
            if not trials:
                raise
            break
        if trials[-1].taught >= ENOUGH:
            break
    best = max(trial.taught for trial in trials)
    chosen = next(trial for trial in trials if trial.taught >= ENOUGH * best)
    return (*(trial for trial in trials if trial is not chosen), chosen)
