"""Finished jobs as folders, named by the digest of their identity.

A folder is written under a temporary name, synced, and renamed: it is whole or it is not there.
Resume, caching and a store shared between machines follow from that one rule.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from auditor.core.aliases import JOB_KEYS, NOTES, attack_name, attack_parameters, renamed
from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.core.facts import FactSets
from auditor.core.files import PARTIAL, partial_name, system_errors, whole_folder, write_whole
from auditor.core.hashing import canonical_json, digest, digest_file
from auditor.core.reading import DATA, DOCUMENT, UnfitFileError, parse_json, read_regular
from auditor.core.records import Cost, Record, Row, notes_json
from auditor.core.text_safety import quoted
from auditor.store.columns import plain, tabulate
from auditor.store.environment import Environment, former_environment
from auditor.store.rows_file import parse_rows

_ROWS = "rows.parquet"
_NOTES = "notes.json"
_ARRAYS = "arrays.safetensors"
_IDENTITY = "job.json"
_ENVIRONMENT = "environment.json"
_SEAL = "seal.json"
_COST = "cost.json"

_LOGS, _ARTIFACTS = "audits", "positive-controls"

_SEALS = TypeAdapter(dict[str, str])
_OBJECTS = TypeAdapter(dict[str, Any])
_COSTS = TypeAdapter(Cost)

_UNREADABLE = (
    *(UnfitFileError, FileNotFoundError, NotADirectoryError, SafetensorError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""Errors to which a file leads that a store did not write."""
_SHOWN = 200
"""Most characters of such an error that are quoted."""

_ABANDONED = 24 * 3600
"""Seconds after which a temporary folder is taken for the leftover of a killed run."""


class FolderStore:
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
        if read_only:
            if not self._jobs.is_dir():
                raise AuditorError(f"{root} is no evidence store: it has no folder jobs.")
            return
        for folder in (self._jobs, self._inputs):
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
        return (self._folder(key) / _SEAL).exists()

    def keys(self) -> Iterator[str]:
        """Yield the keys of the jobs that are done."""
        return (seal.parent.name for seal in self._jobs.glob(f"[!.]*/[!.]*/{_SEAL}"))

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
            (folder / _IDENTITY).write_bytes(canonical_json(identity))
            (folder / _ENVIRONMENT).write_bytes(canonical_json(environment.model_dump()))
            (folder / _NOTES).write_bytes(notes_json(record.notes))
            pq.write_table(tabulate(record.rows), folder / _ROWS)
            if record.arrays:
                # safetensors writes the memory of a strided array as if it were contiguous
                whole = {name: np.asarray(a, order="C") for name, a in record.arrays.items()}
                with system_errors():
                    save_file(whole, folder / _ARRAYS)
            seal = {file.name: digest_file(file) for file in sorted(folder.iterdir())}
            (folder / _COST).write_text(json.dumps(cost.__dict__), encoding="utf-8")
            (folder / _SEAL).write_bytes(canonical_json(seal))

    def read(self, key: str) -> Record:
        """The evidence of a finished job.

        Raises:
            EvidenceChangedError: a file was changed after it was written.
        """
        self.seal(key)
        return Record(
            rows=tuple(Row(**row) for row in plain(self.rows(key)).to_pylist()),
            notes=self.notes(key),
            arrays=self.arrays(key),
        )

    def rows(self, key: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a finished job, or some of their columns.

        Raises:
            EvidenceChangedError: they were changed after they were written.
        """
        content = self._whole(key, _ROWS, DATA)
        with self._as_written(key, _ROWS):
            return parse_rows(content, columns)

    def notes(self, key: str) -> dict[str, Any]:
        """Return the notes of a finished job, under today's names.

        Raises:
            EvidenceChangedError: they were changed after they were written.
        """
        notes = self._object(key, _NOTES)
        former = _is_former(self._object(key, _IDENTITY))
        return renamed(notes, NOTES) if former else notes

    def arrays(self, key: str) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays that a finished job kept, if any.

        Raises:
            EvidenceChangedError: they were changed after they were written, or are not there.
        """
        if _ARRAYS not in self._sealed(key):
            return {}
        content = self._whole(key, _ARRAYS, None)
        with self._as_written(key, _ARRAYS):
            return dict(sorted(load(content).items()))  # in no order as they come

    def identity(self, key: str) -> dict[str, Any]:
        """Read what a finished job was asked, under today's names.

        Raises:
            EvidenceChangedError: It is not what the job is named by, or is not there.
        """
        identity = self._identity(key)
        if not _is_former(identity):
            return identity
        identity = renamed(identity, JOB_KEYS)
        with self._as_written(key, _IDENTITY):
            attack = attack_name(identity.get("attack", ""))
            parameters = attack_parameters(attack, identity.get("parameters", {}))
        return identity | {"attack": attack, "parameters": parameters}

    def environment(self, key: str) -> Environment | None:
        """Read the environment in which a finished job was measured.

        None means that it was not recorded.

        Raises:
            EvidenceChangedError: It was changed after it was written, or is not there.
        """
        if _ENVIRONMENT in self._sealed(key):
            said = self._object(key, _ENVIRONMENT)
            with self._as_written(key, _ENVIRONMENT):
                return Environment.model_validate(said)
        return former_environment(self._identity(key))

    def _identity(self, key: str) -> dict[str, Any]:
        """Return the identity of a finished job, from its file."""
        content = self._whole(key, _IDENTITY)
        if hashlib.sha256(content).hexdigest() != key:
            raise EvidenceChangedError(_changed(self._folder(key) / _IDENTITY))
        return self._object(key, _IDENTITY)

    def cost(self, key: str) -> Cost:
        """Return the cost of a finished job.

        Raises:
            EvidenceChangedError: it is not there, or was changed.
        """
        file = self._folder(key) / _COST
        with self._as_written(key, _COST):
            return _COSTS.validate_python(parse_json(read_regular(file)))

    def seal(self, key: str) -> str:
        """Digest over a finished job's evidence (timings excepted), checked against its files.

        Raises:
            EvidenceChangedError: a file was changed, or is gone.
        """
        folder = self._folder(key)
        seal = self._sealed(key)
        present = {file.name for file in folder.iterdir()} - {_SEAL, _COST}
        for name in sorted(seal.keys() ^ present):
            raise EvidenceChangedError(_changed(folder / name))
        for name, sealed in sorted(seal.items()):
            with self._as_written(key, name):
                found = digest_file(folder / name)
            if found != sealed:
                raise EvidenceChangedError(_changed(folder / name))
        return digest(seal)

    def claimed_seal(self, key: str) -> str:
        """Return the digest of `seal` as it was written down.

        The files are not read.

        Raises:
            EvidenceChangedError: the job is not there, or what is written there is no seal.
        """
        return digest(self._sealed(key))

    def _sealed(self, key: str) -> dict[str, str]:
        """File to digest, as written down."""
        file = self._folder(key) / _SEAL
        if not file.exists():
            raise EvidenceChangedError(f"the evidence of job {key} is not in {self.root}.")
        with self._as_written(key, _SEAL):
            seal = _SEALS.validate_python(parse_json(read_regular(file)), strict=True)
        if not {_IDENTITY, _NOTES, _ROWS} <= seal.keys():
            raise EvidenceChangedError(_changed(file))
        return seal

    def _whole(self, key: str, name: str, limit: int | None = DOCUMENT) -> bytes:
        """A file of a finished job, checked against its seal."""
        file = self._folder(key) / name
        with self._as_written(key, name):
            content = read_regular(file, limit)
        if hashlib.sha256(content).hexdigest() != self._sealed(key)[name]:
            raise EvidenceChangedError(_changed(file))
        return content

    def _object(self, key: str, name: str) -> dict[str, Any]:
        """A file of a finished job that holds a JSON object."""
        content = self._whole(key, name)
        with self._as_written(key, name):
            return _OBJECTS.validate_python(parse_json(content), strict=True)

    @contextmanager
    def _as_written(self, key: str, name: str) -> Iterator[None]:
        """Take whatever a file's content leads to for a change of it.

        Raises:
            EvidenceChangedError: The file is not what a store writes.
        """
        file = self._folder(key) / name
        try:
            yield
        except _UNREADABLE as error:
            raise EvidenceChangedError(_changed(file, _why(error))) from error

    def put_facts(self, sets: FactSets) -> str:
        """Keep the facts that jobs are about, and return their digest."""
        content = canonical_json(sets.model_dump(mode="json"))
        key = digest(json.loads(content))
        final = self._inputs / f"{key}.json"
        if not final.exists():
            write_whole(final, content)
        return key

    def facts(self, key: str) -> FactSets:
        """Return the facts of a digest.

        Raises:
            EvidenceChangedError: the file was changed after it was written, or is not there.
        """
        file = self._inputs / f"{key}.json"
        try:
            content = read_regular(file, DATA)
            if hashlib.sha256(content).hexdigest() == key:
                return FactSets.model_validate(parse_json(content))
        except FileNotFoundError as error:
            raise EvidenceChangedError(f"the facts {key} are not in {self.root}.") from error
        except (UnfitFileError, ValueError) as error:
            raise EvidenceChangedError(
                f"{file} holds no facts ({_why(error)}). Delete it and start again."
            ) from error
        raise EvidenceChangedError(f"the facts in {file} were changed. Delete it and start again.")

    def artifact(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder kept under a key, made if absent.

        Raises:
            OSError: The folder cannot be written.
        """
        final = self.root / _ARTIFACTS / key
        if not final.is_dir():
            with whole_folder(final, within=self._jobs) as folder:
                make(folder)
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
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, key: str) -> Path:
        return self._jobs / key[:2] / key

    def _sweep(self) -> None:
        """Remove what killed runs left behind.

        Young folders stay, because they may belong to a run that is still under way.
        """
        for leftover in self._jobs.glob(PARTIAL):
            try:
                if time.time() - leftover.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(leftover, ignore_errors=True)
            except FileNotFoundError:
                continue


def _why(error: Exception) -> str:
    """What is wrong with a file, in short."""
    return quoted((error.strerror if isinstance(error, OSError) else "") or str(error), _SHOWN)


def _changed(file: Path, why: str | None = None) -> str:
    said = f" ({why})" if why else ""
    return (
        f"evidence was changed after it was measured: {file}{said}. Delete the folder "
        f"{file.parent} to measure this job again."
    )


def _is_former(identity: dict[str, Any]) -> bool:
    """Whether a release before 0.2 wrote a job."""
    return not JOB_KEYS.keys().isdisjoint(identity)
