"""Executor that runs jobs on a Ray cluster, or on this machine.

Ray places the workers, restarts them, gives a job of a worker that died to the next one, and ends
all of them with the process that asked. What is decided here is which model a worker keeps open.
"""

import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, ClassVar

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.util.queue import Empty, Queue

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
from auditor.engine.executors.canary import Canary, sing
from auditor.engine.failure import RETRIES, Failure, FailureKind
from auditor.engine.job import Job
from auditor.engine.locations import Locations
from auditor.store.base import EvidenceStore
from auditor.store.environment import CPU

_LOOK = 1.0
"""Seconds between two looks at what the workers say of themselves."""
_OBJECTS = 100 * 2**20
"""Bytes of memory for objects that Ray shares on this machine; jobs need next to none."""
_SHOWN = 300
"""Most characters of Ray's own message that are quoted."""
_TYPE = "accelerator_type:"
"""Start of the names under which Ray lists types of accelerators."""


@EXECUTORS.register("ray")
class RayExecutor(Executor):
    """Workers that Ray places, each with one model open at a time.

    Without an address Ray is started on this machine, unless this process has joined a cluster
    already. Workers of other machines need this package with the same plug-ins, the models' files
    at the same paths (or hub names), and a store that they reach: a shared folder or a URL.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"address", "gpus"})

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        gpus: int | None = None,
        threads: int = 1,
    ) -> None:
        """Create an executor.

        Args:
            workers: Number of workers; by default as many as the cluster has room for, and never
                more than there are models to ask or jobs to do.
            address: Address of a cluster, as ``ray.init`` takes it; ``auto`` finds the one that
                this machine belongs to. None starts Ray on this machine.
            gpus: GPUs of each worker, by default one where the cluster has any; more for models
                that are spread over several (``device_map: auto``).
            threads: Threads of torch in each worker, and processors that it is given.

        Raises:
            AuditorError: There would be no worker, or the options contradict each other.
        """
        if workers is not None and workers < 1:
            raise AuditorError(f"{workers} workers can do nothing; give --workers 1 or more.")
        if gpus is not None and gpus < 0:
            raise AuditorError(f"a worker cannot have {gpus} GPUs; give --gpus 0 or more.")
        super().__init__(workers)
        self._address = address
        self._gpus = gpus
        self._threads = threads

    def run(
        self,
        jobs: Sequence[LabelledJob],
        models: Locations,
        store: EvidenceStore,
        progress: Progress,
    ) -> Mapping[str, Failure]:
        """Run the jobs in workers, which are started anew for each call.

        Raises:
            AuditorError: The cluster cannot be reached, or lacks what a worker needs.
        """
        groups = waiting(jobs, store)
        total = sum(map(len, groups.values()))
        if not total:
            return {}
        _join(self._address)
        on_cpu = all(key.spec.device_map == CPU for key in groups)
        needs, room = needs_of(ray.nodes(), self._threads, 0 if on_cpu else self._gpus)
        size = min(self.workers or room, total if self.workers else len(groups))
        with progress.task(task_of(jobs, total), total) as advance:
            advance(0, "waiting for workers of the cluster")
            crew = _Crew(groups, store, advance)
            # Ray prints what it has to say of dead workers, and standard output is for data
            with (
                redirect_stdout(sys.stderr),
                _members(size, needs, models, store, self._threads) as (members, said),
            ):
                return crew.work(members, said)


def needs_of(
    nodes: Sequence[Mapping[str, Any]], threads: int, gpus: int | None
) -> tuple[dict[str, Any], int]:
    """Return what each worker needs, and how many have room.

    All of them get the same type of accelerator, that of which there are most: figures of unlike
    ones would not be compared.

    Args:
        nodes: The cluster's machines, as Ray lists them.
        threads: Processors of a worker.
        gpus: GPUs of a worker; None for one, where there are any.

    Returns:
        Options of an actor, and the number of workers.

    Raises:
        AuditorError: No machine has as many GPUs or processors as one worker needs.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if gpus is None:
        gpus = int(any(node.get("GPU", 0) >= 1 for node in alive))
    cards: Counter[str] = Counter()
    for node in alive:
        kind = next((name for name in node if name.startswith(_TYPE)), "")
        cards[kind] += int(node.get("GPU", 0)) // gpus if gpus else 0
    needs: dict[str, Any] = {"num_cpus": threads}
    if gpus:
        kind = max(sorted(cards), key=lambda name: cards[name], default="")
        needs["num_gpus"] = gpus
        if kind:
            needs["accelerator_type"] = kind.removeprefix(_TYPE)
        alive = [node for node in alive if not kind or kind in node]
    room = sum(_room(node, threads, gpus) for node in alive)
    if not room:
        has = ", ".join(f"{n.get('CPU', 0):.0f} CPUs and {n.get('GPU', 0):.0f} GPUs" for n in alive)
        raise AuditorError(
            f"no machine of the Ray cluster has room for a worker with {threads} CPUs and {gpus} "
            f"GPUs (they have: {has or 'nothing'}); give each worker fewer (--gpus), or add "
            "machines."
        )
    return needs, room


def _room(node: Mapping[str, float], threads: int, gpus: int) -> int:
    """Workers that a machine has room for."""
    processors = int(node.get("CPU", 0)) // threads
    return min(processors, int(node.get("GPU", 0)) // gpus) if gpus else processors


def _join(address: str | None) -> None:
    """Join a cluster, or start Ray here, unless that was done.

    Raises:
        AuditorError: There is none at the address.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as Ray will have it
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "configure_logging": True,
    }
    if address is None:
        common |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
    try:
        try:
            ray.init(address or "local", **common)
        except Exception:  # a busy machine takes longer than Ray waits, and not twice
            ray.shutdown()
            if address is not None:
                raise
            ray.init("local", **common)
    except Exception as error:  # Ray raises anything where it cannot start
        ray.shutdown()
        said = " ".join(str(error).split())[:_SHOWN]
        if address is None:
            raise AuditorError(
                f"Ray does not start on this machine ({said}). If the machine is busy, try again; "
                "--executor processes needs no Ray."
            ) from error
        raise AuditorError(
            f"there is no Ray cluster at {address} ({said}). Start one with `ray start --head`, or "
            "leave --address out to start Ray on this machine alone."
        ) from error


class _Member:
    """Worker in a process that Ray started.

    Args:
        models: Finds the models' files.
        node: Machine on which they were found; those of another one are hashed there.
        store: Where evidence is kept.
        threads: Threads of torch.
        said: Name of the actor that takes what the worker says of itself.
    """

    def __init__(
        self, models: Locations, node: str, store: EvidenceStore, threads: int, said: str
    ) -> None:
        quiet_libraries()
        import torch

        torch.set_num_threads(threads)
        self._canary = sing()
        self._said = ray.get_actor(said)
        self._label, self._spoken = "", 0.0
        here = ray.get_runtime_context().get_node_id()
        self._worker = Worker(models if here == node else Locations(), store, Ticker(self._say))

    def ready(self) -> Canary:
        """Return what this worker computes, as soon as it runs."""
        return self._canary

    def attempt(self, label: str, job: Job, patience: float, like: Canary) -> Answer:
        """Run a job; a process that lost its accelerator ends.

        Ray may have started this worker again on another machine, so that what it computes is
        compared for each job.
        """
        self._label = label
        if difference := self._canary.differences(like):
            return Answer(error=AuditorError(_unlike(difference)))
        try:
            return self._worker.attempt(job, patience)
        except LostContextError:
            os._exit(LostContextError.exit_code)
        except BaseException as error:
            return Answer(error=portable(error))

    def _say(self, line: str) -> None:
        now = time.monotonic()
        if now - self._spoken >= _LOOK:
            self._spoken = now
            self._said.put_nowait.remote(f"{self._label}: {line}")


@contextmanager
def _members(
    size: int, needs: Mapping[str, Any], models: Locations, store: EvidenceStore, threads: int
) -> Iterator[tuple[list[ActorHandle], Queue]]:
    """Workers that are gone afterwards, whatever they were at."""
    node = ray.get_runtime_context().get_node_id()
    # named, because a worker that is started again needs whatever it was given in plain data
    name = f"auditor-{uuid.uuid4().hex}"
    said = Queue(actor_options={"num_cpus": 0, "name": name})
    # a worker that dies is started again, and its job is given to it once more
    actor = ray.remote(
        max_restarts=-1, max_task_retries=RETRIES[FailureKind.POISONED].times, **needs
    )(_Member)
    members: list[ActorHandle] = []
    try:
        members += [actor.remote(models, node, store, threads, name) for _ in range(size)]
        yield members, said
    finally:
        for member in members:
            ray.kill(member)
        said.shutdown(force=True)


class _Crew:
    """Jobs of one call, and what became of them."""

    def __init__(
        self,
        groups: Mapping[ModelKey, Sequence[LabelledJob]],
        store: EvidenceStore,
        advance: Advance,
    ) -> None:
        self._agenda = Agenda(groups, advance)
        self._store, self._advance = store, advance
        self._canary: Canary | None = None
        self._held: dict[ActorHandle, ModelKey] = {}
        self._busy: dict[ObjectRef, tuple[ActorHandle, LabelledJob | None]] = {}

    def work(self, members: Sequence[ActorHandle], said: Queue) -> dict[str, Failure]:
        """Run everything that is left.

        Whoever is ready gets a job; where the cluster is full, the others come later.
        """
        self._busy = {member.ready.remote(): (member, None) for member in members}
        idle: list[ActorHandle] = []
        spoken = time.monotonic()
        while self._agenda.open:
            ready, _ = ray.wait([*self._busy], timeout=_LOOK)
            if time.monotonic() - spoken >= _LOOK:
                spoken = time.monotonic()
                self._show(said)
            for reference in ready:
                member, entry = self._busy.pop(reference)
                if entry is None and not self._admitted(reference):
                    continue
                if entry is not None:
                    self._heard(reference, entry)
                idle.append(member)
            idle = [member for member in idle if not self._assigned(member)]
        return self._agenda.failures

    def _show(self, said: Queue) -> None:
        try:
            lines = said.get_nowait_batch(said.qsize())
        except Empty:
            return
        for line in lines:
            self._advance(0, line)

    def _assigned(self, member: ActorHandle) -> bool:
        """Give a worker its next job, and return whether one can begin."""
        turn: Turn | None = self._agenda.next(self._held.get(member))
        if turn is None:
            return False
        label, job = turn.entry
        self._held[member] = model_key(job)
        self._advance(0, label)
        asked = member.attempt.remote(label, job, turn.patience, self._canary)
        self._busy[asked] = member, turn.entry
        return True

    def _admitted(self, reference: ObjectRef) -> bool:
        """Whether a worker that has started computes as the first one does.

        Raises:
            AuditorError: It could not start.
        """
        try:
            canary: Canary = ray.get(reference)
        except (RayActorError, RayTaskError, OutOfMemoryError) as error:
            raise _not_started(error) from error
        self._canary = self._canary or canary
        difference = canary.differences(self._canary)
        if difference:
            self._advance(0, f"left out: {_unlike(difference)}")
        return not difference

    def _heard(self, reference: ObjectRef, entry: LabelledJob) -> None:
        """Take in what became of a job.

        Raises:
            BaseException: The error that no job can go on after.
        """
        try:
            answer = ray.get(reference)
        except (RayActorError, OutOfMemoryError) as error:
            answer = Answer(self._lost(entry, error))
        except RayTaskError as error:
            raise _not_started(error) from error
        self._agenda.answered(entry, answer)

    def _lost(self, entry: LabelledJob, error: Exception) -> Failure | None:
        """Return the failure of a lost job, unless it is done."""
        key = entry.job.key
        if self._store.has(key):
            return None
        said = " ".join(str(error).split())[:_SHOWN]
        self._store.log_failure(key, f"{error}\n")
        reason = message("worker_lost", quoted=("error",), error=said)
        full = isinstance(error, OutOfMemoryError)
        return Failure(reason, FailureKind.OUT_OF_MEMORY if full else FailureKind.POISONED)


def _unlike(difference: str) -> str:
    return (
        f"a worker of the cluster computes otherwise than the first one ({difference}), and "
        "figures of unlike machines are not compared. Give the audit machines of one kind."
    )


def _not_started(error: Exception) -> AuditorError:
    said = " ".join(str(error).split())[-_SHOWN:]
    return AuditorError(
        f"a worker of the Ray cluster could not start ({said}). Install the same version of this "
        "package and its plug-ins on every machine of the cluster."
    )
