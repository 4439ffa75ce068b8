"""Errors that a user can cause, with their exit codes."""

GB = 10**9
"""Bytes of a gigabyte."""


class AuditorError(Exception):
    """Something the user can mend: printed without a traceback.

    The message says what was wrong, where, and what to do about it.
    """

    exit_code = 2
    """Exit code of the command line; 0, 1 and 3 are verdicts, 4 is a broken audit."""


class OpeningError(AuditorError):
    """A model of the audit cannot be opened."""


class DoesNotFitError(AuditorError):
    """A model's weights do not fit into memory.

    Args:
        model: What the model is called.
        needed: Bytes that its weights take.
        free: Bytes that were free before they were loaded.
    """

    def __init__(self, model: str, needed: int, free: int) -> None:
        super().__init__(model, needed, free)
        self.model = model
        self.needed = needed
        self.free = free

    def __str__(self) -> str:
        """Name the bytes, and what to change."""
        return (
            f"{self.model} does not fit into memory: its weights take {self.needed / GB:.2f} GB, "
            f"and {self.free / GB:.2f} GB were free. Open it in a smaller type (`dtype: "
            "bfloat16`) or over several devices (`device_map: auto`), run fewer workers, or take "
            "a larger machine."
        )


class LostContextError(AuditorError):
    """The accelerator answers this process no more; another process can use it."""

    exit_code = 4


class MalformedError(AuditorError):
    """A file is not a valid certificate or envelope.

    It is neither of them, or does not follow its schema.
    """

    exit_code = 10


class AlteredError(AuditorError):
    """Something signed or named by its digest was changed afterwards."""

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
    """A value has no canonical JSON.

    It is no finite double and no text, or it has a key that is no string.
    """


class MeasurementError(Exception):
    """A number could not be measured.

    For example the logits are NaN, or a backend returned nothing.

    Raised inside an attack; the engine records the attack as failed. There is never a
    substitute value for the missing number.
    """


class MemoryExhaustedError(MeasurementError):
    """Memory ran out, which says nothing of the model.

    Another try may fit, so it is no reason to leave a part of a measurement out: it fails as a
    whole, and is tried again by the next run.
    """


class UnavailableError(Exception):
    """An attack cannot run here.

    A package, a device or an applicable weight is missing.
    """
