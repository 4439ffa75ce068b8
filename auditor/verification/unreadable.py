"""Evidence that keeps its digests and says nothing that an audit says."""

from collections.abc import Iterator
from contextlib import contextmanager

from auditor.core.errors import AuditorError, EvidenceChangedError, MeasurementError
from auditor.core.text_safety import quoted

_FAULTS = (
    *(ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError),
    *(RecursionError, MeasurementError),
)
"""Errors to which values of another type, or none, lead whoever works with them."""
_SHOWN = 200
"""Most characters of such an error that are quoted."""


@contextmanager
def refused_if_unreadable() -> Iterator[None]:
    """Take errors of those who read evidence for faults of it.

    A digest says that notes and identities are those that were sealed; what an attack notes is its
    own, so only who uses a note meets its type.

    Raises:
        EvidenceChangedError: The evidence is not of the form that an audit writes.
    """
    try:
        yield
    except AuditorError:
        raise
    except _FAULTS as error:
        raise EvidenceChangedError(
            f"the evidence is not of the form that an audit writes ({type(error).__name__}: "
            f"{quoted(str(error), _SHOWN)}), so that nothing follows from it. Ask for the evidence "
            "as it was measured."
        ) from error
