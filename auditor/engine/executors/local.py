"""Executor that runs jobs in this process, one after the other."""

from collections.abc import Mapping, Sequence

from auditor.core.errors import AuditorError
from auditor.core.progress import Progress
from auditor.engine.executors.base import (
    EXECUTORS,
    Agenda,
    Executor,
    LabelledJob,
    Ticker,
    Worker,
    model_key,
    task_of,
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
        if not groups:
            return {}
        total = sum(map(len, groups.values()))
        with progress.task(task_of(jobs, total), total) as advance:
            current, held, agenda = "", None, Agenda(groups, advance)
            worker = Worker(models, store, Ticker(lambda line: advance(0, f"{current}: {line}")))
            try:
                while (turn := agenda.next(held)) is not None:
                    current, job = turn.entry
                    held = model_key(job)
                    advance(0, current)
                    agenda.answered(turn.entry, worker.attempt(job, turn.patience))
            finally:
                worker.close()
        return agenda.failures
