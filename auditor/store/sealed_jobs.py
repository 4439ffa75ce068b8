"""Jobs of sealed files, wherever the files lie."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
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
from auditor.core.errors import EvidenceChangedError
from auditor.core.facts import FactSets
from auditor.core.files import system_errors
from auditor.core.hashing import canonical_json, digest, digest_file
from auditor.core.reading import DATA, DOCUMENT, UnfitFileError, parse_json
from auditor.core.records import Cost, Record, Row, notes_json
from auditor.core.text_safety import quoted
from auditor.store.columns import plain, tabulate
from auditor.store.environment import Environment, former_environment
from auditor.store.rows_file import parse_rows

SEAL = "seal.json"
"""File that makes a job whole: the digests of the others."""
COST = "cost.json"
"""File that no digest covers."""
_ROWS = "rows.parquet"
_DICTIONARY_BYTES = 2**25
"""Most bytes of a column's different values that are each written once: answers and prompts stand
in the row of every metric."""
_NOTES = "notes.json"
_ARRAYS = "arrays.safetensors"
_IDENTITY = "job.json"
_ENVIRONMENT = "environment.json"

SEALS = TypeAdapter(dict[str, str])
_OBJECTS = TypeAdapter(dict[str, Any])
_COSTS = TypeAdapter(Cost)

_UNREADABLE = (
    *(UnfitFileError, FileNotFoundError, NotADirectoryError, SafetensorError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""Errors to which a file leads that a store did not write."""
_SHOWN = 200
"""Most characters of such an error that are quoted."""


class SealedJobs(ABC):
    """Jobs of sealed files, checked against their seals whenever they are read."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Place of the evidence, as messages name it."""

    @abstractmethod
    def has(self, key: str) -> bool:
        """Whether the job of that key is done."""

    @abstractmethod
    def _place(self, key: str, name: str) -> str:
        """Where a file of a job is, as messages name it."""

    @abstractmethod
    def _content(self, key: str, name: str, sealed: str | None, limit: int | None) -> bytes:
        """Read a file of a job.

        Args:
            key: Key of the job.
            name: Name of the file.
            sealed: Digest of the file by the job's seal; None for files that it does not name.
            limit: Most bytes that are read; None for any number.

        Raises:
            UnfitFileError: It is no regular file, or larger than the limit.
            OSError: It cannot be read.
        """

    @abstractmethod
    def _digest(self, key: str, name: str, sealed: str) -> str:
        """Digest a file of a job.

        Raises:
            OSError: It cannot be read.
        """

    @abstractmethod
    def _present(self, key: str, sealed: Collection[str]) -> Collection[str]:
        """List the files of a job that count as its evidence.

        Args:
            key: Key of the job.
            sealed: Names in its seal.
        """

    @abstractmethod
    def _facts(self, key: str) -> bytes:
        """Read the file of facts of a digest.

        Raises:
            OSError: It cannot be read.
        """

    @abstractmethod
    def _facts_place(self, key: str) -> str:
        """Where the facts of a digest are, as messages name it."""

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
            raise self._changed(key, _IDENTITY)
        return self._object(key, _IDENTITY)

    def cost(self, key: str) -> Cost:
        """Return the cost of a finished job.

        Raises:
            EvidenceChangedError: it is not there, or was changed.
        """
        with self._as_written(key, COST):
            return _COSTS.validate_python(parse_json(self._content(key, COST, None, DOCUMENT)))

    def seal(self, key: str) -> str:
        """Digest over a finished job's evidence (timings excepted), checked against its files.

        Raises:
            EvidenceChangedError: a file was changed, or is gone, or all are those of another job.
        """
        seal = self._sealed(key)
        for name in sorted(seal.keys() ^ set(self._present(key, seal))):
            raise self._changed(key, name)
        for name, sealed in sorted(seal.items()):
            with self._as_written(key, name):
                found = self._digest(key, name, sealed)
            if found != sealed:
                raise self._changed(key, name)
        if seal[_IDENTITY] != key:
            raise self._changed(key, _IDENTITY, "it is of another job")
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
        if not self.has(key):
            raise EvidenceChangedError(f"the evidence of job {key} is not in {self.name}.")
        with self._as_written(key, SEAL):
            content = parse_json(self._content(key, SEAL, None, DOCUMENT))
            seal = SEALS.validate_python(content, strict=True)
        if not {_IDENTITY, _NOTES, _ROWS} <= seal.keys():
            raise self._changed(key, SEAL)
        return seal

    def _whole(self, key: str, name: str, limit: int | None = DOCUMENT) -> bytes:
        """A file of a finished job, checked against its seal."""
        sealed = self._sealed(key)[name]
        with self._as_written(key, name):
            content = self._content(key, name, sealed, limit)
        if hashlib.sha256(content).hexdigest() != sealed:
            raise self._changed(key, name)
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
        try:
            yield
        except _UNREADABLE as error:
            raise self._changed(key, name, _why(error)) from error

    def facts(self, key: str) -> FactSets:
        """Return the facts of a digest.

        Raises:
            EvidenceChangedError: the file was changed after it was written, or is not there.
        """
        place = self._facts_place(key)
        try:
            content = self._facts(key)
            if hashlib.sha256(content).hexdigest() == key:
                return _parsed(content)
        except FileNotFoundError as error:
            raise EvidenceChangedError(f"the facts {key} are not in {self.name}.") from error
        except (UnfitFileError, ValueError) as error:
            raise EvidenceChangedError(
                f"{place} holds no facts ({_why(error)}). Delete it and start again."
            ) from error
        raise EvidenceChangedError(f"the facts in {place} were changed. Delete it and start again.")

    def _changed(self, key: str, name: str, why: str | None = None) -> EvidenceChangedError:
        said = f" ({why})" if why else ""
        place = self._place(key, name)
        return EvidenceChangedError(
            f"evidence was changed after it was measured: {place}{said}. Delete the folder "
            f"{place.rpartition('/')[0]} to measure this job again."
        )


def seal_files(
    folder: Path, identity: dict[str, Any], record: Record, cost: Cost, environment: Environment
) -> None:
    """Write the files of a finished job, its seal last.

    Raises:
        OSError: The disk is full or gone.
    """
    (folder / _IDENTITY).write_bytes(canonical_json(identity))
    (folder / _ENVIRONMENT).write_bytes(canonical_json(environment.model_dump()))
    (folder / _NOTES).write_bytes(notes_json(record.notes))
    pq.write_table(
        tabulate(record.rows), folder / _ROWS, dictionary_pagesize_limit=_DICTIONARY_BYTES
    )
    if record.arrays:
        # safetensors writes the memory of a strided array as if it were contiguous
        whole = {name: np.asarray(a, order="C") for name, a in record.arrays.items()}
        with system_errors():
            save_file(whole, folder / _ARRAYS)
    seal = {file.name: digest_file(file) for file in sorted(folder.iterdir())}
    (folder / COST).write_text(json.dumps(cost.__dict__), encoding="utf-8")
    (folder / SEAL).write_bytes(canonical_json(seal))


@lru_cache(maxsize=4)
def _parsed(content: bytes) -> FactSets:
    """Read facts; the jobs of an audit share them."""
    return FactSets.model_validate(parse_json(content))


def _why(error: Exception) -> str:
    """What is wrong with a file, in short."""
    return quoted((error.strerror if isinstance(error, OSError) else "") or str(error), _SHOWN)


def _is_former(identity: dict[str, Any]) -> bool:
    """Whether a release before 0.2 wrote a job."""
    return not JOB_KEYS.keys().isdisjoint(identity)
