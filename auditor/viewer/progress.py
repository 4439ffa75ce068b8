"""Progress of the audits of an evidence store."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from auditor.core.errors import AuditorError
from auditor.core.reading import read_regular
from auditor.core.text_safety import encodable
from auditor.store.history import HISTORY
from auditor.store.ledger import AnyEvent, AuditRun, read_events, runs_of
from auditor.viewer.certificates import Unreadable
from auditor.viewer.folder import Folder

_TAIL = 4096
"""Bytes read from the end of a failure's log, which hold the error."""
_SENTENCE = 600
"""Most characters of an error that are kept."""


class Count(BaseModel):
    """Jobs, and how many of them are done."""

    model_config = ConfigDict(frozen=True)

    done: int
    failed: int
    """Jobs that are not done and failed when they were last tried."""
    total: int


class AttackProgress(BaseModel):
    """The jobs of one attack."""

    model_config = ConfigDict(frozen=True)

    label: str
    all: Count
    arms: dict[str, Count]


class Failed(BaseModel):
    """A job that is not done and failed at its last try."""

    model_config = ConfigDict(frozen=True)

    key: str
    at: datetime
    error: str
    """Last line of its traceback."""
    jobs: tuple[str, ...]
    """Label and arm of each measurement that the job serves; there may be several."""


class AuditProgress(BaseModel):
    """Progress of an audit of one model under one policy.

    It is what the evidence store says.
    """

    model_config = ConfigDict(frozen=True)

    store_id: str
    entry_id: str
    store: str
    model: str
    """Path of the unlearned model when the audit began."""
    policy: str
    policy_digest: str
    begun: str
    finished: str | None
    last_activity: datetime | None
    """When one of its jobs was last finished or failed."""
    all: Count
    """Count of different jobs: one that serves two attacks or arms is counted once."""
    attacks: tuple[AttackProgress, ...]
    failures: tuple[Failed, ...]
    """Failed jobs, the last failure first."""


class StoreView:
    """View of an evidence store to which others may be writing."""

    def __init__(self, folder: Folder, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._failures = {
            file.name.removesuffix(".log"): (file, stamp.modified)
            for file, stamp in folder.files(root / "failures", ".log")
        }

    def audits(self) -> Iterator[AuditProgress | Unreadable]:
        """Yield the audits that the ledgers of the store name.

        Events that cannot be read are yielded too.
        """
        for log, found in self._found():
            yield found if isinstance(found, Unreadable) else self._progress(log, found)

    def newest(self, entry: str) -> AuditRun | None:
        """Return a ledger's last audit, or None if there is none.

        Args:
            entry: Id of the ledger.
        """
        runs = [
            found
            for log, found in self._found()
            if isinstance(found, AuditRun) and self._folder.identifier(log) == entry
        ]
        return runs[-1] if runs else None

    def _found(self) -> Iterator[tuple[Path, AuditRun | Unreadable]]:
        for log in self._logs():
            events: list[AnyEvent] = []
            for file in self._events(log):
                try:
                    events += read_events(self._folder.name(file), read_regular(file))
                except (AuditorError, OSError) as error:
                    yield log, self._unreadable(file, error)
            try:
                runs = runs_of(events)
            except AuditorError as error:
                yield log, self._unreadable(log, error)
                continue
            for run in runs:
                yield log, run

    def _logs(self) -> list[Path]:
        """Return the folder of each ledger.

        Before version 0.2 a ledger was one file of that name.
        """
        folder = self._root / "audits"
        former = [file.with_suffix("") for file, _ in self._folder.files(folder, ".json")]
        logs = {*former, *self._folder.folders(folder)}
        return sorted(log for log in logs if not log.name.startswith(HISTORY))

    def _events(self, log: Path) -> Iterator[Path]:
        former = log.with_name(f"{log.name}.json")
        if self._folder.stamp(former) is not None:
            yield former
        yield from (file for file, _ in self._folder.files(log, ".json"))

    def _unreadable(self, path: Path, error: Exception) -> Unreadable:
        return Unreadable(file=self._folder.name(path), why=encodable(str(error)[:_SENTENCE]))

    def _progress(self, log: Path, audit: AuditRun) -> AuditProgress:
        wanted: dict[str, list[str]] = {}
        for label, by_arm in audit.jobs.items():
            for arm, keys in by_arm.items():
                for key in keys:
                    wanted.setdefault(key, []).append(f"{label}, {arm}")
        done = {key: at for key in wanted if (at := self._sealed(key)) is not None}
        failed = {
            key: self._failures[key][1]
            for key in wanted
            if key in self._failures and key not in done
        }
        times = [*done.values(), *failed.values()]

        def count(keys: Sequence[str]) -> Count:
            unique = set(keys)
            return Count(
                done=len(unique & done.keys()),
                failed=len(unique & failed.keys()),
                total=len(unique),
            )

        def attack(label: str, by_arm: Mapping[str, Sequence[str]]) -> AttackProgress:
            return AttackProgress(
                label=label,
                all=count([key for keys in by_arm.values() for key in keys]),
                arms={arm: count(keys) for arm, keys in by_arm.items()},
            )

        return AuditProgress(
            store_id=self._folder.identifier(self._root),
            entry_id=self._folder.identifier(log),
            store=self._folder.name(self._root),
            model=audit.unlearned,
            policy=audit.name,
            policy_digest=audit.policy,
            begun=audit.begun,
            finished=audit.finished,
            last_activity=_moment(max(times)) if times else None,
            all=count(list(wanted)),
            attacks=tuple(attack(label, by_arm) for label, by_arm in audit.jobs.items()),
            failures=tuple(
                Failed(
                    key=key,
                    at=_moment(failed[key]),
                    error=_last_line(self._failures[key][0]),
                    jobs=tuple(wanted[key]),
                )
                for key in sorted(failed, key=lambda key: (-failed[key], key))
            ),
        )

    def _sealed(self, key: str) -> int | None:
        """Return when a job was finished, in nanoseconds, or None.

        A key that is no digest names no job; it could lead to another folder.
        """
        if not key.isalnum():
            return None
        stamp = self._folder.stamp(self._root / "jobs" / key[:2] / key / "seal.json")
        return None if stamp is None else stamp.modified


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    return lines[-1][:_SENTENCE] if lines else ""


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
