"""Base class of executors, and the registry of all executors.

What their workers share is here, too.
"""

import pickle
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any, ClassVar, NamedTuple

from auditor.attack import ATTACKS
from auditor.core.errors import AuditorError
from auditor.core.interruption import check_interrupted
from auditor.core.progress import Advance, Progress
from auditor.core.registry import Registry
from auditor.engine.execution import execute
from auditor.engine.failure import RETRIES, Failure, FailureKind, kind_of
from auditor.engine.job import Job
from auditor.engine.locations import Locations
from auditor.models.kind import Tick
from auditor.models.manifest import Location
from auditor.models.model import AuditedModel
from auditor.models.opening import open_model
from auditor.models.served import SERVED
from auditor.models.spec import ModelSpec, PromptFormat
from auditor.models.text_engine import AskedEngine
from auditor.store.base import EvidenceStore

TASK = "attacking every arm alike"
"""Description of the work for whoever watches its progress."""
ELSEWHERE = "another audit of this store is at it"
"""What is said of a job that another process has claimed."""
_PATIENCE = 1.0
"""Seconds between two looks at a job that another process is at."""


class LabelledJob(NamedTuple):
    """A job, and what it is called while it runs."""

    label: str
    job: Job


class Executor(ABC):
    """Runs jobs, anywhere, and says which failed.

    A job whose ``needs`` are among the jobs of a call begins after these, and fails with them;
    `Agenda` sees to that. Beside it an executor may run them in any order, on any machine that has
    the models and the store, and more than once; neither evidence nor verdict depends on it.

    A package that brings an executor names it among its entry points:
    ``[project.entry-points."auditor.executors"]``, ``name = "package.module:Class"``.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    """Names of the options, besides the number of workers, that its constructor takes by name:
    ``address`` (of a cluster), ``gpus`` (of each worker)."""

    def __init__(self, workers: int | None = None) -> None:
        """Create an executor.

        Args:
            workers: Number of jobs that run at once; by default, what suits this machine.

        Raises:
            AuditorError: The executor cannot have so many workers.
        """
        self.workers = workers

    @abstractmethod
    def run(
        self,
        jobs: Sequence[LabelledJob],
        models: Locations,
        store: EvidenceStore,
        progress: Progress,
    ) -> Mapping[str, Failure]:
        """Run the jobs that the store does not hold yet.

        Args:
            jobs: What is asked; equal jobs are run once.
            models: Finds the models' files on this machine.
            store: Where evidence is kept.
            progress: Is told how many jobs are done.

        Returns:
            Key to failure of the jobs that left no evidence. A failed job is tried again by the
            next run.

        Raises:
            AuditorError: A model cannot be opened.
            OSError: Evidence could not be written.
        """


EXECUTORS: Registry[type[Executor]] = Registry("executor", group="auditor.executors")


def executor_named(name: str, workers: int | None = None, **options: Any) -> Executor:
    """Make the executor of a name.

    Args:
        name: Its name among the entry points.
        workers: Number of jobs that run at once; by default, what suits the machine.
        options: Options that not every executor takes; None where one is not given.

    Raises:
        AuditorError: There is none of that name, or it does not take an option.
    """
    chosen = EXECUTORS.get(name)
    given = {option: value for option, value in options.items() if value is not None}
    for option in sorted(given.keys() - chosen.takes):
        raise AuditorError(
            f"the executor {name} takes no --{option}, which is for executors of a cluster; leave "
            "it out, or choose --executor ray."
        )
    return chosen(workers, **given)


class Ticker:
    """Counts the answers of a job.

    A line shows them with the job's step.

    Args:
        show: Shows the line.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._answers, self._step = 0, ""

    def begin(self) -> None:
        """Count the answers of another job."""
        self._answers, self._step = 0, ""

    def __call__(self, items: int) -> None:
        """Count further answers."""
        self._answers += items
        self._show(f"{self._step}{self._answers} answers")

    def step(self, step: str) -> None:
        """Go to another step of the job."""
        self._step = f"{step}, "
        self(0)


class Worker:
    """Runs jobs one after the other.

    It has one model open at a time.

    Args:
        models: Finds the models' files on this machine.
        store: Where evidence is kept.
        ticker: Is told how far a job has come.
    """

    def __init__(self, models: Locations, store: EvidenceStore, ticker: Ticker) -> None:
        self._models = models
        self._store = store
        self._ticker = ticker
        self._opened: tuple[ModelKey, AuditedModel] | None = None
        self._ended: dict[ModelKey, Failure] = {}

    def run(self, job: Job) -> Failure | None:
        """Run a job, unless the store holds it by now.

        Where another process of a shared store is at it, that one is waited for.

        Raises:
            KeyboardInterrupt: The user interrupted it, or the job before it.
        """
        while (answer := self.attempt(job, _PATIENCE)).claimed:
            pass
        return answer.failure

    def attempt(self, job: Job, patience: float = 0.0) -> "Answer":
        """Run a job, unless another process did or is at it.

        A job whose failure is of a kind that passes is tried again.

        Args:
            job: What is asked.
            patience: Seconds to wait before the answer is that another process is at it.

        Raises:
            AuditorError: No job can go on in this process.
            OSError: Evidence could not be written.
            KeyboardInterrupt: The user interrupted it, or the job before it.
        """
        check_interrupted()
        self._ticker.begin()
        if self._store.has(job.key):  # another process of a shared store was quicker
            return Answer()
        with self._store.claim(job.key) as held:
            if held:
                # whoever held the claim before may have finished since it was last looked for
                return Answer(None if self._store.has(job.key) else self._tried(job))
        time.sleep(patience)
        check_interrupted()
        return Answer(claimed=True)

    def _tried(self, job: Job) -> Failure | None:
        """Run a job, and again after failures of kinds that pass."""
        if (ended := self._ended.get(model_key(job))) is not None:
            return ended
        pauses = {kind: rule.pauses() for kind, rule in RETRIES.items() if not rule.fresh}
        while True:
            fault: OSError | None = None
            try:
                failure = self._once(job)
            except OSError as error:  # of the store, or of a model's files
                fault, failure = error, None
                if kind_of(error) is not FailureKind.TRANSIENT:
                    raise
            if failure is None and fault is None:
                return None
            self.close()  # a failed attack may have left anything behind
            kind = FailureKind.TRANSIENT if failure is None else failure.kind
            pause = next(pauses.get(kind, iter(())), None)
            if pause is None:
                if fault is not None:
                    raise fault
                return failure
            time.sleep(pause)

    def _once(self, job: Job) -> Failure | None:
        model = self._model(job)
        with self._donor(job, model) as donor:
            failure = execute(job, model, self._store, self._ticker.step, donor)
        check_interrupted()
        if failure is not None and failure.ends_model:
            self._ended[model_key(job)] = failure
        return failure

    def close(self) -> None:
        """Let go of the model."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def _model(self, job: Job) -> AuditedModel:
        if self._opened is None or self._opened[0] != model_key(job):
            self.close()
            location = self._models.find(job.spec, job.model)
            opened = open_model if job.engine is None else _served_by(job.engine)
            model = opened(job.spec, location, job.format, job.token_budget, self._ticker)
            self._opened = model_key(job), model
        self._opened[1].ask_in(job.format)
        return self._opened[1]

    @contextmanager
    def _donor(self, job: Job, model: AuditedModel) -> Iterator[AuditedModel | None]:
        """Yield the job's donor for as long as the job takes.

        What the donor computes counts as the model's.
        """
        if job.donor is None:
            yield None
            return
        spec, digest = job.donor.spec, job.donor.model
        location = self._models.find(spec, digest)
        donor = open_model(spec, location, job.format, job.token_budget, self._ticker)
        donor.meter = model.meter
        try:
            yield donor
        finally:
            donor.close()


@dataclass(frozen=True)
class Answer:
    """What a worker says of a job."""

    failure: Failure | None = None
    """Why the job has no evidence; None if it has, or nobody tried."""
    claimed: bool = False
    """Whether another process of a shared store is at it."""
    error: BaseException | None = None
    """Why no job can go on: the store cannot be written, or a model cannot be opened."""


def portable(error: BaseException) -> BaseException:
    """Return an error that can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what was pickled on this line
    except Exception:  # pickling can fail in any way
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


class ModelKey(NamedTuple):
    """Key that jobs share if they can use the same opened model."""

    model: str
    spec: ModelSpec
    engine: str | None = None
    """What writes texts in its place, in JSON."""


def model_key(job: Job) -> ModelKey:
    """Return what a job needs to be opened."""
    engine = None if job.engine is None else job.engine.model_dump_json()
    return ModelKey(job.model, job.spec, engine)


def _served_by(engine: AskedEngine) -> Callable[..., AuditedModel]:
    """Return what opens a model and hands it to an engine."""

    def opened(
        spec: ModelSpec, location: Location, prompt_format: PromptFormat, budget: int, tick: Tick
    ) -> AuditedModel:
        served = SERVED.get(spec.kind)
        return served.open_served(spec, location, prompt_format, budget, tick, engine)

    return opened


def waiting(jobs: Iterable[LabelledJob], store: EvidenceStore) -> dict[ModelKey, list[LabelledJob]]:
    """Return the jobs that the store lacks, by model.

    Equal jobs are listed once. Those that let go of the model come last.
    """
    unique = {entry.job.key: entry for entry in jobs if not store.has(entry.job.key)}
    groups: dict[ModelKey, list[LabelledJob]] = {}
    for entry in sorted(unique.values(), key=lambda e: ATTACKS.get(e.job.attack).opens_copies):
        groups.setdefault(model_key(entry.job), []).append(entry)
    return groups


def task_of(jobs: Iterable[LabelledJob], to_run: int) -> str:
    """Describe the work, and how much of it was done before.

    Args:
        jobs: What is asked.
        to_run: Number of jobs that the store lacks.
    """
    total = len({entry.job.key for entry in jobs})
    if to_run == total:
        return TASK
    return f"{TASK}: {total - to_run} of {total} jobs found in the store, {to_run} to run"


class Turn(NamedTuple):
    """Job that a worker is to do next."""

    entry: LabelledJob
    patience: float
    """Seconds to wait for another process that is at it."""


class Agenda:
    """Jobs of one call, by the model that they need.

    Some are left to do, of which some wait for what others find; of the rest it is known what
    became of them.

    Args:
        groups: The jobs by model, as `waiting` has them.
        advance: Is told of each job that ends.
    """

    def __init__(self, groups: Mapping[ModelKey, Sequence[LabelledJob]], advance: Advance) -> None:
        entries = [entry for entries in groups.values() for entry in entries]
        self._entries = {entry.job.key: entry for entry in entries}
        self._ready: dict[ModelKey, deque[LabelledJob]] = {model: deque() for model in groups}
        self._elsewhere: deque[LabelledJob] = deque()
        self._ended: dict[ModelKey, Failure] = {}
        self._advance = advance
        self.open = len(entries)
        """Number of jobs that have not ended."""
        self.failures: dict[str, Failure] = {}
        """Failures of those that left no evidence, by key."""
        self._order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(self._entries, ()))
        for key, entry in self._entries.items():
            self._order.add(key, *(self._entries.keys() & entry.job.needs))
        self._order.prepare()
        self._admit(deque.append)

    def next(self, held: ModelKey | None) -> Turn | None:
        """Return the next job, of the held model where one is ready.

        Otherwise it is of the model with most to do. What other processes are at comes last.

        Returns:
            None if nothing can begin now; once a job that is under way has ended, something may.
        """
        if ready := [key for key, entries in self._ready.items() if entries]:
            most = max(ready, key=lambda key: len(self._ready[key]))
            return Turn(self._ready[held if held in ready else most].popleft(), 0.0)
        return Turn(self._elsewhere.popleft(), _PATIENCE) if self._elsewhere else None

    def again(self, entry: LabelledJob) -> None:
        """Put a job back that is to be done first."""
        self._ready[model_key(entry.job)].appendleft(entry)

    def answered(self, entry: LabelledJob, answer: Answer) -> None:
        """Take in what a worker says of its job.

        A failure ends the jobs that need what this one would have found; one that ends the model
        ends the jobs that wait for it, too.

        Raises:
            BaseException: The error that no job can go on after.
        """
        if answer.error is not None:
            raise answer.error
        if answer.claimed:
            self._elsewhere.append(entry)
            self._advance(0, f"{entry.label}: {ELSEWHERE}")
            return
        self._end(entry, answer.failure)
        if answer.failure is not None and answer.failure.ends_model:
            model = model_key(entry.job)
            self._ended[model] = answer.failure
            while self._ready[model]:
                self._end(self._ready[model].popleft(), answer.failure)
        # before what is ready already: jobs that let go of the model come last
        self._admit(deque.appendleft)

    def _admit(self, put: Callable[[deque[LabelledJob], LabelledJob], None]) -> None:
        """Make the jobs ready that wait for nothing more.

        Those whose needs failed, or whose model ended, end at once.
        """
        while keys := self._order.get_ready():
            for entry in map(self._entries.__getitem__, keys):
                model = model_key(entry.job)
                failed = [self.failures[key] for key in entry.job.needs if key in self.failures]
                if failed:
                    self._end(entry, replace(failed[0], ends_model=False))
                elif model in self._ended:
                    self._end(entry, self._ended[model])
                else:
                    put(self._ready[model], entry)

    def _end(self, entry: LabelledJob, failure: Failure | None) -> None:
        """Count a job as ended."""
        key = entry.job.key
        if failure is not None:
            self.failures[key] = failure
        self._order.done(key)
        self.open -= 1
        self._advance(1, entry.label)
