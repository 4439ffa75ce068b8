"""The executor that runs jobs in this process, one after the other."""

from collections.abc import Mapping, Sequence

from auditor.core.errors import AuditorError
from auditor.core.progress import Advance, Progress
from auditor.engine.execution import Failure
from auditor.engine.executors.base import EXECUTORS, TASK, Executor, LabelledJob, Worker, waiting
from auditor.engine.locations import Locations
from auditor.evidence.store import EvidenceStore


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
            ticker = Ticker(advance)
            worker = Worker(models, store, ticker)
            try:
                for entries in groups.values():
                    for label, job in entries:
                        ticker.begin(label)
                        failure = worker.run(job)
                        if failure is not None:
                            failures[job.key] = failure
                        advance(1, label)
            finally:
                worker.close()
        return failures


class Ticker:
    """Tells the progress how many answers the current job has.

    Args:
        advance: Moves the progress on.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._label, self._answers = "", 0

    def begin(self, label: str) -> None:
        """Count the answers of another job."""
        self._label, self._answers = label, 0
        self._advance(0, label)

    def __call__(self, items: int) -> None:
        """Count further answers."""
        self._answers += items
        self._advance(0, f"{self._label}: {self._answers} answers")
