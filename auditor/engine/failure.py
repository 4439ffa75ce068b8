"""Failures of jobs, their kinds, and rules of further tries."""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from auditor.core.errors import (
    DoesNotFitError,
    LostContextError,
    MemoryExhaustedError,
    ModelDiffersError,
    UnavailableError,
)
from auditor.core.faults import is_context_lost, is_out_of_memory
from auditor.core.messages import Message
from auditor.core.roles import Status

_TRANSIENT = frozenset(
    (
        *(errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET),
        *(errno.EHOSTUNREACH, errno.EINTR, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH),
        *(errno.ESTALE, errno.ETIMEDOUT),
    )
)
"""Numbers of errors of the system that pass by themselves: of a network and of what lies on it."""


class FailureKind(StrEnum):
    """Kind of a failure, which decides whether the job is tried again."""

    UNAVAILABLE = "unavailable"
    """The attack does not apply here, rather than having gone wrong."""
    DOES_NOT_FIT = "does-not-fit"
    """A model's weights are larger than the memory."""
    OUT_OF_MEMORY = "out-of-memory"
    """Memory ran out on the way; others may have held it."""
    POISONED = "poisoned"
    """The process is of no use any more: it died, or lost its accelerator."""
    TRANSIENT = "transient"
    """A network or what lies on it did not answer."""
    MISMATCH = "mismatch"
    """The worker has other code or other models than the process that asked."""
    FAILED = "failed"
    """Anything else; asked once more, it would fail in the same way."""


@dataclass(frozen=True)
class Retry:
    """Rule by which a failed job is tried again within one run.

    Whether it is depends on the kind of its failure alone, never on what it measured.
    """

    times: int = 0
    """Number of further tries."""
    fresh: bool = False
    """Whether they need a fresh process."""
    pause: float = 0.0
    """Seconds before the first of them; each later pause is four times as long."""

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each further try."""
        for number in range(self.times):
            yield self.pause * 4**number


RETRIES: Mapping[FailureKind, Retry] = {
    FailureKind.UNAVAILABLE: Retry(),
    FailureKind.DOES_NOT_FIT: Retry(),
    FailureKind.OUT_OF_MEMORY: Retry(times=1),
    FailureKind.POISONED: Retry(times=1, fresh=True),
    FailureKind.TRANSIENT: Retry(times=3, pause=1.0),
    FailureKind.MISMATCH: Retry(),
    FailureKind.FAILED: Retry(),
}
"""Rules by kind, which every executor keeps."""


@dataclass(frozen=True)
class Failure:
    """Why a job has no evidence."""

    reason: Message
    kind: FailureKind = FailureKind.FAILED
    ends_model: bool = False
    """Whether no other job of the same model can go on here, either."""

    @property
    def status(self) -> Literal[Status.FAILED, Status.UNAVAILABLE]:
        """Status of the job."""
        return Status.UNAVAILABLE if self.kind is FailureKind.UNAVAILABLE else Status.FAILED


def kind_of(error: BaseException) -> FailureKind:
    """Return the kind of an error, or of what led to it."""
    if is_context_lost(error):
        return FailureKind.POISONED
    kinds = (_own_kind(cause) for cause in _causes(error))
    return next((kind for kind in kinds if kind is not None), FailureKind.FAILED)


def _own_kind(error: BaseException) -> FailureKind | None:
    named = (
        (UnavailableError, FailureKind.UNAVAILABLE),
        (DoesNotFitError, FailureKind.DOES_NOT_FIT),
        (MemoryExhaustedError, FailureKind.OUT_OF_MEMORY),
        (LostContextError, FailureKind.POISONED),
        (ModelDiffersError, FailureKind.MISMATCH),
        ((ConnectionError, TimeoutError), FailureKind.TRANSIENT),
    )
    for types, kind in named:
        if isinstance(error, types):
            return kind
    if is_out_of_memory(error):
        return FailureKind.OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in _TRANSIENT:
        return FailureKind.TRANSIENT
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__
