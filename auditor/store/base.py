"""Interface of evidence stores, wherever they keep their evidence."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from auditor.core.facts import FactSets
from auditor.core.records import Cost, Record
from auditor.store.environment import Environment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


class EvidenceStore(Protocol):
    """Store of finished jobs by their keys.

    Any number of processes may read and write it at once.

    Whatever holds this contract can stand in for the folder of `FolderStore`: a job is there whole
    or not at all, the first of two writers of one job wins, and what was written is never changed.
    A store is passed to worker processes, so it can be pickled.
    """

    @property
    def name(self) -> str:
        """Place of the evidence, as messages name it."""

    def has(self, key: str) -> bool:
        """Whether the job of that key is done."""

    def keys(self) -> Iterator[str]:
        """Yield the keys of the jobs that are done, in no order."""

    def write(
        self,
        key: str,
        identity: dict[str, Any],
        record: Record,
        cost: Cost,
        environment: Environment,
    ) -> None:
        """Keep a finished job.

        If another process finished it meanwhile, its evidence stays.

        Args:
            key: Sha256 (hex) of the canonical JSON of ``identity``.
            identity: Everything that was asked.
            record: What was measured.
            cost: What it took; no digest covers it.
            environment: What it was measured with.

        Raises:
            OSError: The evidence cannot be written; nothing half-written is left under the key.
        """

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Hold the claim to a job while the context lasts.

        Its value says whether the claim is held here; if not, another process is at the job. A
        process that died loses its claims. Nothing but work depends on a claim: who writes without
        one writes as well.
        """

    def read(self, key: str) -> Record:
        """Read the evidence of a finished job.

        Raises:
            EvidenceChangedError: It was changed after it was written, or is not there.
        """

    def rows(self, key: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """Read the rows of a finished job, or some of their columns.

        Raises:
            EvidenceChangedError: They were changed after they were written, or are not there.
        """

    def notes(self, key: str) -> dict[str, Any]:
        """Read what a finished job noted.

        Raises:
            EvidenceChangedError: They were changed after they were written, or are not there.
        """

    def arrays(self, key: str) -> "dict[str, npt.NDArray[np.generic]]":
        """Read the arrays that a finished job kept.

        Raises:
            EvidenceChangedError: They were changed after they were written, or are not there.
        """

    def identity(self, key: str) -> dict[str, Any]:
        """Read what a finished job was asked, under today's names.

        Raises:
            EvidenceChangedError: It is not what the job is named by, or is not there.
        """

    def environment(self, key: str) -> Environment | None:
        """Read the environment in which a finished job was measured.

        None means that it was not recorded.

        Raises:
            EvidenceChangedError: It was changed after it was written, or is not there.
        """

    def cost(self, key: str) -> Cost:
        """Read what a finished job took."""

    def seal(self, key: str) -> str:
        """Digest a finished job's evidence (cost excepted), after checking it.

        Raises:
            EvidenceChangedError: A part of it was changed or is not there, or all of it is another
                job's.
        """

    def claimed_seal(self, key: str) -> str:
        """Return the digest of a finished job's evidence as written down.

        It is not checked.

        Raises:
            EvidenceChangedError: The job is not there, or what is written there is no seal.
        """

    def put_facts(self, sets: FactSets) -> str:
        """Keep the facts that jobs are about, and return their digest."""

    def facts(self, key: str) -> FactSets:
        """Read the facts of a digest.

        Raises:
            EvidenceChangedError: They were changed after they were written, or are not there.
        """

    def artifact(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder kept under a key, made if absent.

        It holds what is made once for many jobs, such as a model with a planted suppression. It is
        there whole or not at all; of two processes that make it at once, the first one's stays.

        Args:
            key: Digest of everything that decides what is in the folder.
            make: Fills an empty folder.

        Raises:
            OSError: The folder cannot be written.
        """

    def derived(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of a model's copy, made if not whole.

        Unlike an artifact it decides nothing that cannot be had again, so copies that were not used
        for long are removed where they take more than their share of the disk.

        Args:
            key: Digest of everything that decides what is in the folder.
            make: Fills an empty folder.

        Raises:
            OSError: The folder cannot be written.
        """

    def append(self, log: str, event: bytes) -> None:
        """Add an event to a log, whole or not at all.

        Nothing is ever taken out or changed.

        Args:
            log: Name of the log, in letters and digits.
            event: What happened, as JSON.

        Raises:
            OSError: The event cannot be written.
        """

    def events(self, log: str) -> Iterator[tuple[str, bytes]]:
        """Read the events of a log, each with where it is.

        Those of other processes are read, too.

        Those whose `append` returned before this is called are all among them.
        """

    def redaction_key(self) -> bytes:
        """Return the secret under which texts of this store's audits are redacted.

        Raises:
            AuditorError: There is none, and the store was opened to be read.
        """

    def log_failure(self, key: str, text: str) -> None:
        """Keep the traceback of a job that failed."""

    def temporary_folder(self) -> AbstractContextManager[Path]:
        """Open a folder for one job's scratch files, which is removed afterwards."""
