"""Running jobs: one job against the store, and the executor for one process on one device."""

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.findings import Finding
from auditor.core.messages import Message, message
from auditor.core.progress import Advance, Progress
from auditor.core.records import Cost, Record, check_malformed
from auditor.core.roles import Status
from auditor.engine.job import Job
from auditor.evidence.store import EvidenceStore
from auditor.models.model import AuditedModel
from auditor.models.opening import open_model


@dataclass(frozen=True)
class Failure:
    """Why a job has no evidence."""

    reason: Message
    status: Literal[Status.FAILED, Status.UNAVAILABLE] = Status.FAILED
    """Unavailable: the attack does not apply here, rather than having gone wrong."""


class Executor(Protocol):
    """Runs jobs, anywhere, and says which failed."""

    def run(
        self, jobs: Sequence[tuple[str, Job]], store: EvidenceStore, progress: Progress
    ) -> Mapping[str, Failure]:
        """Run labelled jobs that the store does not hold yet.

        Returns:
            Key to failure of the jobs that left no evidence. A failed job is tried again by the
            next run.
        """


class _Ticker:
    """Shows the step and the number of answers that the current job has come to."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self.begin("")

    def begin(self, label: str) -> None:
        self._label, self._answers, self._step = label, 0, ""
        self._advance(0, label)

    def __call__(self, items: int) -> None:
        self._answers += items
        self._show()

    def step(self, step: str) -> None:
        self._step = f"{step}, "
        self._show()

    def _show(self) -> None:
        self._advance(0, f"{self._label}: {self._step}{self._answers} answers")


class LocalExecutor:
    """One process, one device; the model of one arm is open at a time."""

    def run(
        self, jobs: Sequence[tuple[str, Job]], store: EvidenceStore, progress: Progress
    ) -> Mapping[str, Failure]:
        """Run the jobs arm by arm, so that each model is loaded once."""
        unique = {job.key: (label, job) for label, job in jobs if not store.has(job.key)}
        failures: dict[str, Failure] = {}
        if not unique:
            return failures
        with progress.task("attacking every arm alike", len(unique)) as advance:
            ticker = _Ticker(advance)
            for arm_jobs in _by_model(unique.values()):
                subject = None
                for label, job in arm_jobs:
                    ticker.begin(label)
                    if store.has(job.key):  # another process of a shared store was quicker
                        advance(1, label)
                        continue
                    if subject is None:
                        subject = open_model(
                            job.spec, job.location, job.format, job.token_budget, ticker
                        )
                    failure = execute(job, subject, store, ticker.step)
                    if failure is not None:
                        failures[job.key] = failure
                        subject.close()  # a failed attack may have left anything behind
                        subject = None
                    advance(1, label)
                if subject is not None:
                    subject.close()
        return failures


def execute(
    job: Job,
    model: AuditedModel,
    store: EvidenceStore,
    report: Callable[[str], None] = lambda step: None,
) -> Failure | None:
    """Run one job and keep its evidence.

    Args:
        job: what is measured.
        model: the opened model of its arm.
        store: where evidence and the traceback of a failure go.
        report: shows how far the attack has come.

    Returns:
        Why there is no evidence, or None.

    Raises:
        OSError: the evidence could not be written (the audit fails, not the attack).
    """
    attack = job.instantiate()
    evaluator = job.kind.evaluator(store.facts(job.facts), job.metrics, job.auxiliary)
    pool = [Finding(Arm(entry.arm), entry.own, store.read(entry.key)) for entry in job.pool]
    before, began = model.meter.forward_tokens, time.monotonic()
    try:
        with store.temporary_folder() as scratch:
            context = AttackContext(evaluator, job.seed, scratch, pool, report)
            if job.stage == "search":
                record = attack.search(model, context) or Record()
            else:
                record = attack.measure(model, context)
            tokens = model.meter.forward_tokens - before
            record = replace(record, notes={**record.notes, "forward_tokens": tokens})
            check_malformed(record)
    except UnavailableError as error:
        reason = message("unavailable", quoted=("error",), error=str(error))
        return Failure(reason, Status.UNAVAILABLE)
    except (Exception, SystemExit) as error:  # an attack can fail in any way; the audit goes on
        store.log_failure(job.key, traceback.format_exc())
        return Failure(
            message("error", quoted=("error",), type=type(error).__name__, error=str(error))
        )
    seconds = time.monotonic() - began
    store.write(job.key, job.identity, record, Cost(seconds, tokens))
    return None


def _by_model(
    jobs: Iterable[tuple[str, Job]],
) -> Iterable[list[tuple[str, Job]]]:
    groups: dict[tuple[Any, ...], list[tuple[str, Job]]] = {}
    for label, job in jobs:
        spec = job.spec
        options = str(job.kind.options(spec))
        opened_alike = (job.location.manifest.digest, spec.dtype, spec.device_map, options)
        groups.setdefault(opened_alike, []).append((label, job))
    return groups.values()
