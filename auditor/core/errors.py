"""The errors that a user can cause, and what each does to the exit code."""


class AuditorError(Exception):
    """Something the user can mend: printed without a traceback.

    The message says what was wrong, where, and what to do about it.
    """

    exit_code = 2
    """What the command line returns; 0, 1 and 3 are verdicts, 4 is a broken audit."""


class MalformedError(AuditorError):
    """A file is no certificate, no envelope, or does not follow its schema."""

    exit_code = 10


class AlteredError(AuditorError):
    """What was signed, or named by its digest, was changed afterwards."""

    exit_code = 11


class UntrustedError(AuditorError):
    """Fewer trusted keys signed than are needed, or none did."""

    exit_code = 12


class ReplayedError(AuditorError):
    """A signature was made for something else than what it stands beside."""

    exit_code = 13


class ContradictedError(AuditorError):
    """The evidence leads to something else than the certificate says."""

    exit_code = 14


class EvidenceChangedError(AuditorError):
    """Evidence was changed after it was measured, or is missing."""

    exit_code = 15


class ModelDiffersError(AuditorError):
    """The model on disk is not the one that was audited."""

    exit_code = 16


class ExpiredError(AuditorError):
    """A certificate or a waiver holds no longer."""

    exit_code = 17


class UnrepresentableError(AuditorError, ValueError):
    """A value has no canonical JSON: no finite double, no text, or a key that is no string."""


class MeasurementError(Exception):
    """A number could not be measured (NaN logits, a backend that returned nothing).

    Raised inside an attack; the engine records the attack as failed. There is never a
    substitute value for the missing number.
    """


class UnavailableError(Exception):
    """An attack cannot run here: a package, a device or an applicable weight is missing."""
