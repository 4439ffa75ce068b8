"""Finished jobs as folders, named by the digest of their identity.

A folder is written under a temporary name, synced, and renamed: it is whole or it is not there.
Resume, caching and a store shared between machines follow from that one rule.
"""

import json
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.core.facts import FactSets
from auditor.core.files import PARTIAL, partial_name, whole_folder, write_whole
from auditor.core.hashing import canonical_json, digest, digest_file
from auditor.core.reading import DATA, read_regular
from auditor.core.records import Cost, Record
from auditor.store.claims import beating, claimed
from auditor.store.derived_folders import DERIVED, is_whole, remove_unused, seal_folder, used
from auditor.store.environment import Environment
from auditor.store.sealed_jobs import COST, SEAL, SealedJobs, seal_files

_LOGS, _ARTIFACTS = "audits", "positive-controls"

_ABANDONED = 24 * 3600
"""Seconds without a sign of life after which what is temporary is taken for a leftover."""


class _ClaimFolder:
    """Claims as files of a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, name: str, content: bytes) -> bool:
        """Make a file, unless it is there; say whether it was made."""
        try:
            descriptor = os.open(self._root / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return True

    def numbers(self, key: str) -> list[int]:
        """List the numbers of a key's files."""
        return [int(file.suffix[1:]) for file in self._root.glob(f"{key}.*")]

    def read(self, name: str) -> bytes:
        """Read a file."""
        return read_regular(self._root / name)

    def age(self, name: str) -> float:
        """Seconds since a file was renewed, by the file system's clock."""
        probe = self._root / partial_name()
        try:
            probe.touch()
            return probe.stat().st_mtime - (self._root / name).stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def renew(self, name: str) -> None:
        """Touch a file."""
        os.utime(self._root / name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self._root / name).unlink(missing_ok=True)


class FolderStore(SealedJobs):
    """Evidence store in a folder.

    Several processes and machines may share it.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        """Open a store.

        Args:
            root: its folder.
            read_only: nothing is made, swept or written; the store must be there.

        Raises:
            AuditorError: it cannot be written, or is not there.
        """
        self.root = root
        self._read_only = read_only
        self._jobs = root / "jobs"
        self._inputs = root / "inputs"
        self._claims = root / "claims"
        self._claim_files = _ClaimFolder(self._claims)
        if read_only:
            if not self._jobs.is_dir():
                raise EvidenceChangedError(f"{root} is no evidence store: it has no folder jobs.")
            return
        for folder in (self._jobs, self._inputs, self._claims):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise AuditorError(
                    f"the evidence store {root} cannot be written: {error}"
                ) from error
        self._sweep()

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    def has(self, key: str) -> bool:
        """Whether the job of that key is done."""
        return (self._folder(key) / SEAL).exists()

    def keys(self) -> Iterator[str]:
        """Yield the keys of the jobs that are done."""
        return (seal.parent.name for seal in self._jobs.glob(f"[!.]*/[!.]*/{SEAL}"))

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

        Raises:
            OSError: The disk is full or gone; nothing half-written is left under the job's name.
        """
        final = self._folder(key)
        if final.is_dir() and not self.has(key):  # no evidence: it would stand in the way
            final.rename(self._jobs / partial_name())
        with whole_folder(final, within=self._jobs) as folder:
            seal_files(folder, identity, record, cost, environment)

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Hold the claim to a job while the context lasts."""
        return claimed(self._claim_files, key)

    def put_facts(self, sets: FactSets) -> str:
        """Keep the facts that jobs are about, and return their digest."""
        content = canonical_json(sets.model_dump(mode="json"))
        key = digest(json.loads(content))
        final = self._inputs / f"{key}.json"
        if not final.exists():
            write_whole(final, content)
        return key

    def artifact(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder kept under a key, made if absent.

        Raises:
            OSError: The folder cannot be written.
        """
        final = self.root / _ARTIFACTS / key
        if not final.is_dir():
            with whole_folder(final, within=self._jobs) as folder, _alive(folder.parent):
                make(folder)
        return final

    def derived(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of a model's copy, made if not whole.

        Raises:
            OSError: The folder cannot be written.
        """
        final = self.root / DERIVED / key
        if final.is_dir() and not is_whole(final):
            shutil.rmtree(final)
        if not final.is_dir():
            remove_unused(final.parent)
            with whole_folder(final, within=self._jobs) as folder, _alive(folder.parent):
                make(folder)
                seal_folder(folder)
            remove_unused(final.parent)
        used(final)
        return final

    def append(self, log: str, event: bytes) -> None:
        """Add an event to a log, as a file of its own.

        Raises:
            OSError: The event cannot be written.
        """
        folder = self.root / _LOGS / log
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.json", event)

    def events(self, log: str) -> Iterator[tuple[str, bytes]]:
        """Read the events of a log, ordered by their writers' clocks.

        Before version 0.2 a log was one file, which comes first.
        """
        folder = self.root / _LOGS / log
        former = folder.with_name(f"{log}.json")
        files = sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []
        for file in [former, *files] if former.exists() else files:
            yield str(file), read_regular(file)

    def redaction_key(self) -> bytes:
        """Return the secret under which this store's texts are redacted.

        It is made at first use.

        Raises:
            AuditorError: it is not there, and the store was opened to be read.
        """
        file = self.root / "redaction.key"
        if not file.exists():
            if self._read_only:
                raise AuditorError(f"{file} is missing, so redacted texts cannot be compared.")
            with suppress(FileExistsError):  # another process made it meanwhile: that one stays
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as written:
                    written.write(secrets.token_bytes(32))
        return read_regular(file)

    def log_failure(self, key: str, text: str) -> None:
        """Keep the traceback of a failed job for whoever mends it."""
        folder = self.root / "failures"
        folder.mkdir(exist_ok=True)
        (folder / f"{key}.log").write_text(text, encoding="utf-8")

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A folder inside the store for one job's scratch files; gone afterwards."""
        folder = self._jobs / partial_name()
        folder.mkdir()
        try:
            with _alive(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, key: str) -> Path:
        return self._jobs / key[:2] / key

    def _place(self, key: str, name: str) -> str:
        return str(self._folder(key) / name)

    def _content(self, key: str, name: str, sealed: str | None, limit: int | None) -> bytes:
        return read_regular(self._folder(key) / name, limit)

    def _digest(self, key: str, name: str, sealed: str) -> str:
        return digest_file(self._folder(key) / name)

    def _present(self, key: str, sealed: Collection[str]) -> Collection[str]:
        return {file.name for file in self._folder(key).iterdir()} - {SEAL, COST}

    def _facts(self, key: str) -> bytes:
        return read_regular(self._inputs / f"{key}.json", DATA)

    def _facts_place(self, key: str) -> str:
        return str(self._inputs / f"{key}.json")

    def _sweep(self) -> None:
        """Remove what killed runs left behind.

        Whatever showed a sign of life of late stays: it belongs to a run that is under way.
        """
        for leftover in (*self._jobs.glob(PARTIAL), *self._claims.iterdir()):
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime <= _ABANDONED:
                    continue
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink()


def _alive(folder: Path) -> AbstractContextManager[None]:
    """Keep an unfinished folder from being taken for a leftover."""
    return beating(lambda: os.utime(folder))
