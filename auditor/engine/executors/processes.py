"""Executor that runs jobs in several processes of this machine.

They use one store.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import torch
from torch.multiprocessing import get_context

from auditor.core.errors import AuditorError, LostContextError
from auditor.core.messages import message
from auditor.core.progress import Advance, Progress
from auditor.core.quiet import quiet_libraries
from auditor.engine.executors.base import (
    EXECUTORS,
    Agenda,
    Answer,
    Executor,
    LabelledJob,
    ModelKey,
    Ticker,
    Turn,
    Worker,
    model_key,
    portable,
    task_of,
    waiting,
)
from auditor.engine.failure import RETRIES, Failure, FailureKind
from auditor.engine.locations import Locations
from auditor.models.kind import kind_named
from auditor.store.base import EvidenceStore

if TYPE_CHECKING:  # the second is not on every system
    from multiprocessing.context import ForkServerContext, SpawnContext

_PATIENCE = 10
"""Seconds within which an idle process must end by itself."""


@EXECUTORS.register("processes")
class ProcessesExecutor(Executor):
    """Several processes, each with one model open at a time.

    A process keeps to one model as long as there are jobs for it, so that models are loaded as
    seldom as possible. Each holds a whole model in memory, and all of them share the accelerator
    where there is one. A process that dies (out of memory, killed) takes only its job with it,
    which another one tries once more.

    On Linux without an accelerator, processes are forked from one that has imported what opens the
    models: they start at once, and the libraries lie in memory once.
    """

    def __init__(self, workers: int | None = None, threads: int = 1) -> None:
        """Create an executor.

        Args:
            workers: Number of processes; by default one for each processor of this machine, and
                never more than there are models to ask or jobs to do.
            threads: Threads of torch in each process. The order in which numbers are summed, and
                so their last digits, may depend on it.

        Raises:
            AuditorError: There would be no process.
        """
        if workers is not None and workers < 1:
            raise AuditorError(f"{workers} workers can do nothing; give --workers 1 or more.")
        super().__init__(workers)
        self._threads = threads

    def run(
        self,
        jobs: Sequence[LabelledJob],
        models: Locations,
        store: EvidenceStore,
        progress: Progress,
    ) -> Mapping[str, Failure]:
        """Run the jobs in processes, which are started anew for each call."""
        groups = waiting(jobs, store)
        total = sum(map(len, groups.values()))
        if not total:
            return {}
        size = min(self.workers or _processors(), total if self.workers else len(groups))
        with progress.task(task_of(jobs, total), total) as advance:
            crew = _Crew(groups, models, store, self._threads, advance)
            return crew.work(size)


def _context(models: Iterable[ModelKey]) -> "SpawnContext | ForkServerContext":
    """Return the way in which processes are started that ask these models.

    A process forked from a server has no imports of its own to wait for. What an accelerator's
    driver set up does not survive a fork, so that where there is one each process starts from
    nothing; so it does where the system's own libraries are not made for forks.
    """
    if sys.platform != "linux" or torch.accelerator.is_available():
        return get_context("spawn")
    context = get_context("forkserver")
    kinds = [kind_named(key.spec.kind) for key in models]
    context.set_forkserver_preload(sorted({__name__, *(name for k in kinds for name in k.code)}))
    return context


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Process:
    """A process, and the job that it is busy with."""

    def __init__(
        self,
        context: "SpawnContext | ForkServerContext",
        models: Locations,
        store: EvidenceStore,
        threads: int,
    ) -> None:
        self.connection, theirs = context.Pipe()
        # no daemon: an attack may start processes of its own
        self.process = context.Process(
            target=_serve, args=(theirs, dict(os.environ), models, store, threads)
        )
        self.process.start()
        theirs.close()  # or the end of the process would not be seen
        self.entry: LabelledJob | None = None
        self.model: ModelKey | None = None

    def begin(self, turn: Turn) -> None:
        """Send a job."""
        self.entry, self.model = turn.entry, model_key(turn.entry.job)
        with suppress(OSError):  # it died while it was idle; the connection's end will tell
            self.connection.send((turn.entry.job, turn.patience))

    def end(self, patience: float) -> None:
        """End a process.

        An idle one ends by itself, and any other is killed.
        """
        self.connection.close()
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Crew:
    """The processes of one call, and what is left to do."""

    def __init__(
        self,
        groups: Mapping[ModelKey, list[LabelledJob]],
        models: Locations,
        store: EvidenceStore,
        threads: int,
        advance: Advance,
    ) -> None:
        self._agenda = Agenda(groups, advance)
        self._context = _context(groups)
        self._models, self._store, self._threads = models, store, threads
        self._advance = advance
        self._deaths: dict[str, int] = {}

    def work(self, size: int) -> dict[str, Failure]:
        """Run everything that is left in ``size`` processes."""
        with self._processes(size) as processes:
            self._assign_all(processes)
            while busy := [p for p in processes if p.entry is not None]:
                ready = set(wait([process.connection for process in busy]))
                for process in [p for p in busy if p.connection in ready]:
                    try:
                        said = process.connection.recv()
                    except (EOFError, OSError):
                        processes.remove(process)
                        processes.append(self._replaced(process))
                    else:
                        self._heard(process, said)
                self._assign_all(processes)
        return self._agenda.failures

    @contextmanager
    def _processes(self, size: int) -> Iterator[list[_Process]]:
        """Processes that are gone afterwards, at once if something went wrong."""
        processes = [self._new() for _ in range(size)]
        patience = 0
        try:
            yield processes
            patience = _PATIENCE
        finally:
            for process in processes:
                process.end(patience)

    def _new(self) -> _Process:
        return _Process(self._context, self._models, self._store, self._threads)

    def _assign_all(self, processes: Iterable[_Process]) -> None:
        """Give each idle process its next job, where one can begin.

        It is of the model that it holds, or of the one with most to do.
        """
        for process in processes:
            if process.entry is None and (turn := self._agenda.next(process.model)) is not None:
                self._advance(0, turn.entry.label)
                process.begin(turn)

    def _heard(self, process: _Process, said: object) -> None:
        """Take in what a process said of its job.

        Raises:
            BaseException: The error that no job can go on after.
        """
        entry = process.entry
        if entry is None:  # pragma: no cover - only processes with a job are listened to
            return
        if isinstance(said, str):
            self._advance(0, f"{entry.label}: {said}")
        elif isinstance(said, Answer):
            self._agenda.answered(entry, said)
            process.entry = None

    def _replaced(self, dead: _Process) -> _Process:
        """Return a process in place of one that died.

        The job of the dead one is tried again.
        """
        dead.end(0)
        entry = dead.entry
        if entry is not None:
            key = entry.job.key
            self._deaths[key] = self._deaths.get(key, 0) + 1
            if self._store.has(key):  # it died after its work was done
                self._agenda.answered(entry, Answer())
            elif self._deaths[key] <= RETRIES[FailureKind.POISONED].times:
                self._agenda.again(entry)
            else:
                code = dead.process.exitcode
                self._store.log_failure(key, f"The worker process ended with exit code {code}.\n")
                reason = message("worker_died", exit_code=code)
                failure = Failure(reason, FailureKind.POISONED)
                self._agenda.answered(entry, Answer(failure))
        process = self._new()
        process.model = dead.model
        return process


def _serve(
    connection: Connection,
    environment: Mapping[str, str],
    models: Locations,
    store: EvidenceStore,
    threads: int,
) -> None:
    """Run jobs that come through a connection until it closes.

    It is the work of a process.
    """
    os.environ.clear()  # a forked process has the environment in which its server began
    os.environ.update(environment)
    os.dup2(2, 1)  # standard output is the parent's; libraries print there, too
    quiet_libraries()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts the audit, it ends this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    worker = Worker(models, store, Ticker(connection.send))
    while True:
        try:
            job, patience = connection.recv()
        except EOFError:
            worker.close()
            return
        try:
            answer = worker.attempt(job, patience)
        except LostContextError:
            os._exit(LostContextError.exit_code)  # another process tries the job once more
        except BaseException as error:
            answer = Answer(error=portable(error))
        connection.send(answer)


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
