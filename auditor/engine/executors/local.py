"""Executor that runs jobs in this process, one after the other."""

from collections.abc import Mapping, Sequence

from auditor.core.errors import AuditorError
from auditor.core.progress import Progress
from auditor.engine.executors.base import (
    ELSEWHERE,
    EXECUTORS,
    TASK,
    Agenda,
    Executor,
    LabelledJob,
    Ticker,
    Worker,
    model_key,
    waiting,
)
from auditor.engine.failure import Failure
from auditor.engine.locations import Locations
from auditor.store.base import EvidenceStore


@EXECUTORS.register("local")
class LocalExecutor(Executor):
    """One process, one model open at a time."""

    def __init__(self, workers: int | None = None) -> None:
        if workers not in (None, 1):
            raise AuditorError(
                f"the executor local is one worker, not {workers}; choose --executor processes."
            )
        super().__init__(workers)

    def run(
        self,
        jobs: Sequence[LabelledJob],
        models: Locations,
        store: EvidenceStore,
        progress: Progress,
    ) -> Mapping[str, Failure]:
        """Run the jobs model by model, so that each is loaded once."""
        groups = waiting(jobs, store)
        failures: dict[str, Failure] = {}
        if not groups:
            return failures
        with progress.task(TASK, sum(map(len, groups.values()))) as advance:
            current, held, agenda = "", None, Agenda(groups)
            worker = Worker(models, store, Ticker(lambda line: advance(0, f"{current}: {line}")))
            try:
                while (turn := agenda.next(held)) is not None:
                    current, job = turn.entry
                    held = model_key(job)
                    advance(0, current)
                    answer = worker.attempt(job, turn.patience)
                    if answer.claimed:
                        agenda.later(turn.entry)
                        advance(0, f"{current}: {ELSEWHERE}")
                        continue
                    if answer.failure is not None:
                        failures[job.key] = answer.failure
                    advance(1, current)
            finally:
                worker.close()
        return failures
