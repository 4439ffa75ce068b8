"""The errors that a user can cause, and what each does to the exit code."""


class AuditorError(Exception):
    """Something the user can mend: printed without a traceback.

    The message says what was wrong, where, and what to do about it.
    """


class MeasurementError(Exception):
    """A number could not be measured (NaN logits, a backend that returned nothing).

    Raised inside an attack; the engine records the attack as failed. There is never a
    substitute value for the missing number.
    """


class Unavailable(Exception):  # noqa: N818 - a state of the world, not a fault
    """An attack cannot run here: a package, a device or an applicable weight is missing."""
