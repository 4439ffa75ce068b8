"""Evidence store below a URL that fsspec reaches.

Objects can be neither renamed nor locked. So the files of a job are written first, each named by
its digest, and its seal last, which only the first of several writers can make: a job is there
whole or not at all, and files of another writer of the same job lie beside it without harm.
"""

import hashlib
import json
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec

from auditor.core.cache import cache_folder
from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.core.facts import FactSets
from auditor.core.files import whole_folder
from auditor.core.hashing import canonical_json, digest, digest_file
from auditor.core.reading import DATA, DOCUMENT, UnfitFileError, parse_json
from auditor.core.records import Cost, Record
from auditor.store.claims import claimed
from auditor.store.derived_folders import DERIVED, is_whole, remove_unused, seal_folder, used
from auditor.store.environment import Environment
from auditor.store.sealed_jobs import COST, SEAL, SEALS, SealedJobs, seal_files

_LOGS, _ARTIFACTS = "audits", "positive-controls"
_MARK = "store.json"
"""Object by which a store is known."""


class _Objects:
    """Objects below a URL.

    Args:
        url: The URL, as fsspec has it.

    Raises:
        AuditorError: No package that is installed reaches it.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            # a list that was kept would hide what others wrote
            self._system, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise AuditorError(
                f"the evidence store {url} cannot be reached ({error}): "
                "pip install 'unlearning-auditor[object-storage]' brings s3:// and gs://."
            ) from error

    def place(self, name: str) -> str:
        """URL of an object."""
        return f"{self.url}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is an object."""
        with self._errors():
            return bool(self._system.exists(self._at(name)))

    def read(self, name: str, limit: int | None = DOCUMENT) -> bytes:
        """Read an object.

        Raises:
            UnfitFileError: It is larger than the limit.
            OSError: It is not there, or the storage cannot be reached.
        """
        with self._errors():
            size = self._system.info(self._at(name))["size"]
            if limit is not None and size > limit:
                raise UnfitFileError(
                    Path(name), f"it has {size:,} bytes, and no more than {limit:,} are read"
                )
            return bytes(self._system.cat_file(self._at(name)))

    def put(self, name: str, content: bytes) -> None:
        """Write an object.

        Raises:
            OSError: The storage refuses it or cannot be reached.
        """
        with self._errors():
            self._system.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object, unless it is there; say whether it was written.

        Raises:
            OSError: The storage refuses it or cannot be reached.
        """
        with self._errors():
            try:
                self._system.pipe_file(self._at(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def upload(self, file: Path, name: str) -> None:
        """Write a file of this machine as an object.

        Raises:
            OSError: The storage refuses it or cannot be reached.
        """
        with self._errors():
            self._system.put_file(str(file), self._at(name))

    def download(self, name: str, file: Path) -> None:
        """Write an object as a file of this machine.

        Raises:
            OSError: It is not there, or the storage cannot be reached.
        """
        with self._errors():
            self._system.get_file(self._at(name), str(file))

    def names(self, prefix: str) -> list[str]:
        """List the names of all objects below a folder, sorted."""
        with self._errors():
            found = self._system.find(self._at(prefix), refresh=True)
        return sorted(str(path).removeprefix(f"{self._root}/") for path in found)

    def age(self, name: str) -> float:
        """Seconds since an object was written, by the storage's clock."""
        probe = f"claims/.{uuid.uuid4().hex}"
        self.put(probe, b"")
        try:
            with self._errors():
                now, then = (self._system.modified(self._at(each)) for each in (probe, name))
                return float((now - then).total_seconds())
        finally:
            self.remove(probe)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._errors(), suppress(FileNotFoundError):
            self._system.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of the storage's own library as errors of the system.

        Raises:
            OSError: The storage refused something or cannot be reached.
        """
        try:
            yield
        except (OSError, AuditorError, KeyboardInterrupt):
            raise
        except Exception as error:  # each library has its own
            raise ConnectionError(f"{self.url}: {type(error).__name__}: {error}") from error


class _ClaimObjects:
    """Claims as objects.

    Args:
        objects: Objects of the store.
    """

    def __init__(self, objects: _Objects) -> None:
        self._objects = objects

    def create(self, name: str, content: bytes) -> bool:
        """Make an object, unless it is there; say whether it was made."""
        return self._objects.create(f"claims/{name}", content)

    def numbers(self, key: str) -> list[int]:
        """List the numbers of a key's objects."""
        names = (name.rpartition("/")[2].partition(".") for name in self._objects.names("claims"))
        return [int(number) for start, _, number in names if start == key]

    def read(self, name: str) -> bytes:
        """Read an object."""
        return self._objects.read(f"claims/{name}")

    def age(self, name: str) -> float:
        """Seconds since an object was last written, by the storage's clock."""
        return self._objects.age(f"claims/{name}")

    def renew(self, name: str) -> None:
        """Write an object once more, as it is."""
        self._objects.put(f"claims/{name}", self.read(name))

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        self._objects.remove(f"claims/{name}")


class ObjectStore(SealedJobs):
    """Evidence store below a URL: ``s3://``, ``gs://``, ``memory://``, and others of fsspec."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Open a store.

        Args:
            url: Its URL. Who may use it, and through which endpoint, is said as fsspec and the
                storage's own library have it (for S3 ``AWS_PROFILE``, ``AWS_ENDPOINT_URL``).
            read_only: Nothing is written; the store must be there.

        Raises:
            AuditorError: It cannot be reached, or is not there.
        """
        self._objects = _Objects(url)
        self._read_only = read_only
        try:
            there = self._objects.exists(_MARK)
            if not read_only and not there:
                self._objects.put(_MARK, canonical_json({"holds": "evidence"}))
        except OSError as error:
            raise AuditorError(f"the evidence store {url} cannot be reached: {error}") from error
        if read_only and not there:
            raise EvidenceChangedError(f"{url} is no evidence store: it has no {_MARK}.")

    @property
    def name(self) -> str:
        """The URL."""
        return self._objects.url

    def has(self, key: str) -> bool:
        """Whether the job of that key is done."""
        return self._objects.exists(self._of_job(key, SEAL))

    def keys(self) -> Iterator[str]:
        """Yield the keys of the jobs that are done."""
        for name in self._objects.names("jobs"):
            folder, _, file = name.rpartition("/")
            if file == SEAL:
                yield folder.rpartition("/")[2]

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
            OSError: The storage cannot be written; without a seal the job is not there.
        """
        with self.temporary_folder() as folder:
            seal_files(folder, identity, record, cost, environment)
            seal = (folder / SEAL).read_bytes()
            for name, sealed in SEALS.validate_json(seal).items():
                self._objects.put(self._of_job(key, name, sealed), (folder / name).read_bytes())
            self._objects.create(self._of_job(key, COST), (folder / COST).read_bytes())
            self._objects.create(self._of_job(key, SEAL), seal)

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Hold the claim to a job while the context lasts."""
        return claimed(_ClaimObjects(self._objects), key)

    def put_facts(self, sets: FactSets) -> str:
        """Keep the facts that jobs are about, and return their digest."""
        content = canonical_json(sets.model_dump(mode="json"))
        key = digest(json.loads(content))
        if not self._objects.exists(_inputs(key)):
            self._objects.put(_inputs(key), content)
        return key

    def artifact(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return a local folder with what is kept under a key.

        Raises:
            OSError: The folder or the storage cannot be written.
            EvidenceChangedError: What the storage holds was changed.
        """
        final = self._cache / _ARTIFACTS / key
        kept = f"{_ARTIFACTS}/{key}"
        if not final.is_dir():
            with whole_folder(final) as folder:
                there = self._objects.exists(f"{kept}/{SEAL}")
                if there or not self._is_first(folder, kept, make):
                    self._download(folder, kept)
        return final

    def derived(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return a local folder with a model's copy, made if not whole.

        Raises:
            OSError: The folder or the storage cannot be written.
        """
        final, kept = self._cache / DERIVED / key, f"{DERIVED}/{key}"
        if final.is_dir() and not is_whole(final):
            shutil.rmtree(final)
        if not final.is_dir():
            remove_unused(final.parent)
            with whole_folder(final) as folder:
                if not self._is_downloaded(folder, kept):
                    make(folder)
                    self._upload(folder, kept, seal_folder(folder))
                    # another seal may be that of a copy that was not whole
                    self._objects.upload(folder / SEAL, f"{kept}/{SEAL}")
            remove_unused(final.parent)
        used(final)
        return final

    def append(self, log: str, event: bytes) -> None:
        """Add an event to a log, as an object of its own.

        Raises:
            OSError: The storage cannot be written.
        """
        self._objects.put(f"{_LOGS}/{log}/{time.time_ns():020d}-{uuid.uuid4().hex}.json", event)

    def events(self, log: str) -> Iterator[tuple[str, bytes]]:
        """Read the events of a log, ordered by their writers' clocks."""
        for name in self._objects.names(f"{_LOGS}/{log}"):
            yield self._objects.place(name), self._objects.read(name)

    def redaction_key(self) -> bytes:
        """Return the secret under which this store's texts are redacted.

        It is made at first use.

        Raises:
            AuditorError: It is not there, and the store was opened to be read.
        """
        name = "redaction.key"
        if not self._objects.exists(name):
            if self._read_only:
                raise AuditorError(
                    f"{self._objects.place(name)} is missing, so redacted texts cannot be compared."
                )
            self._objects.create(name, secrets.token_bytes(32))
        return self._objects.read(name)

    def log_failure(self, key: str, text: str) -> None:
        """Keep the traceback of a failed job for whoever mends it."""
        self._objects.put(f"failures/{key}.log", text.encode())

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A folder of this machine for one job's scratch files; gone afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="auditor-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _of_job(self, key: str, name: str, sealed: str | None = None) -> str:
        return f"jobs/{key[:2]}/{key}/{name if sealed is None else f'{sealed}.{name}'}"

    def _place(self, key: str, name: str) -> str:
        return self._objects.place(self._of_job(key, name))

    def _content(self, key: str, name: str, sealed: str | None, limit: int | None) -> bytes:
        return self._objects.read(self._of_job(key, name, sealed), limit)

    def _digest(self, key: str, name: str, sealed: str) -> str:
        return hashlib.sha256(self._content(key, name, sealed, None)).hexdigest()

    def _present(self, key: str, sealed: Collection[str]) -> Collection[str]:
        return sealed  # what lies beside them is of another writer, and nobody reads it

    def _facts(self, key: str) -> bytes:
        return self._objects.read(_inputs(key), DATA)

    def _facts_place(self, key: str) -> str:
        return self._objects.place(_inputs(key))

    def _is_first(self, folder: Path, kept: str, make: Callable[[Path], None]) -> bool:
        """Fill a folder and write its files, their list last.

        Returns:
            Whether nobody did so before. If somebody did, the folder is empty again.
        """
        make(folder)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        digests = {file.relative_to(folder).as_posix(): digest_file(file) for file in files}
        self._upload(folder, kept, digests)
        if self._objects.create(f"{kept}/{SEAL}", canonical_json(digests)):
            return True
        _empty(folder)
        return False

    def _upload(self, folder: Path, kept: str, digests: Mapping[str, str]) -> None:
        """Write a folder's files, each under its digest."""
        for name, sealed in digests.items():
            self._objects.upload(folder / name, f"{kept}/{sealed}")

    def _is_downloaded(self, folder: Path, kept: str) -> bool:
        """Fill a folder from the storage; say whether it is whole.

        What is not whole there is left out.
        """
        if not self._objects.exists(f"{kept}/{SEAL}"):
            return False
        try:
            self._download(folder, kept)
            self._objects.download(f"{kept}/{SEAL}", folder / SEAL)
        except EvidenceChangedError:
            _empty(folder)
            return False
        return True

    @property
    def _cache(self) -> Path:
        """Folder of this machine for what was made or downloaded."""
        place = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        return cache_folder() / "stores" / place

    def _download(self, folder: Path, kept: str) -> None:
        """Fill an empty folder with the files of a list.

        Raises:
            EvidenceChangedError: One is gone, has another digest, or would lie outside the folder.
        """
        try:
            content = parse_json(self._objects.read(f"{kept}/{SEAL}"))
            for name, sealed in SEALS.validate_python(content, strict=True).items():
                self._download_file(f"{kept}/{sealed}", folder, name, sealed)
        except (UnfitFileError, FileNotFoundError, ValueError) as error:
            raise EvidenceChangedError(
                f"{self._objects.place(kept)} is not what was written there ({error}). Delete it "
                "and start again."
            ) from error

    def _download_file(self, kept: str, folder: Path, name: str, sealed: str) -> None:
        """Write one object into a folder.

        Raises:
            UnfitFileError: It would lie outside the folder, or has another digest.
        """
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise UnfitFileError(file, "it lies outside its folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        self._objects.download(kept, file)
        if digest_file(file) != sealed:
            raise UnfitFileError(file, "it was changed")


def _empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _inputs(key: str) -> str:
    return f"inputs/{key}.json"
