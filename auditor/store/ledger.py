"""Ledger of the audits and policies of an evidence store.

A policy that is chosen after the evidence was seen proves nothing. So an audit writes its policy's
digest, and the jobs that it will run, into the store before the unlearned model is opened. An audit
that has begun cannot go on under another policy; after it has finished, the same may be audited
under another, and the new certificate says so.

The ledger is a log to which events are only ever added, each whole or not at all. Two audits that
begin together therefore both stand in it. Each writes down that it is about to decide before it
reads which others there are, so that at least the one that reads last finds the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.hashing import canonical_json, digest
from auditor.core.reading import parse_json
from auditor.core.time import utc_text
from auditor.store.base import EvidenceStore

Jobs = dict[str, dict[str, tuple[str, ...]]]
"""Keys of jobs by arm, by label of the attack."""


class Begun(BaseModel):
    """An audit begins, or goes on, under a policy."""

    model_config = ConfigDict(frozen=True)

    event: Literal["begun"] = "begun"
    policy: str
    """Digest of the policy."""
    name: str
    """Name of the policy."""
    unlearned: str
    """Path of the unlearned model."""
    at: str
    """Time in UTC, ISO 8601."""
    jobs: Jobs
    superseded: tuple[str, ...] = ()
    """Policies under which an audit had begun before without measuring the unlearned model."""
    beside: tuple[str, ...] = ()
    """Policies under which an audit began at the same time."""
    read: str | None = None
    """Digest of the facts with prompts as the original reads them, where that is kept."""


class Decided(BaseModel):
    """Event that an audit's evidence is complete.

    Its verdict is about to be decided.
    """

    model_config = ConfigDict(frozen=True)

    event: Literal["decided"] = "decided"
    policy: str
    at: str


class Finished(BaseModel):
    """The certificate of an audit is written."""

    model_config = ConfigDict(frozen=True)

    event: Literal["finished"] = "finished"
    policy: str
    at: str
    others: tuple[str, ...]
    """Policies of other audits of the same model and facts, as the certificate names them."""


AnyEvent: TypeAlias = Begun | Decided | Finished


class _FormerRun(BaseModel):
    """An audit under one policy, as ledgers before version 0.2 have it."""

    policy: str
    name: str
    begun: str
    finished: str | None = None
    jobs: Jobs


class _FormerEntry(BaseModel):
    """Former file of all audits of one unlearned model.

    They are on one set of facts.
    """

    unlearned: str
    undertakings: tuple[_FormerRun, ...]


_EVENT: TypeAdapter[_FormerEntry | AnyEvent] = TypeAdapter(
    _FormerEntry | Annotated[AnyEvent, Field(discriminator="event")]
)


def read_events(name: str, content: bytes) -> list[AnyEvent]:
    """Read an event, or those of a ledger before version 0.2.

    Args:
        name: Where it is, for messages.
        content: JSON of the event.

    Raises:
        AuditorError: It is no event.
    """
    try:
        read = _EVENT.validate_python(parse_json(content))
    except ValueError as error:
        raise AuditorError(
            f"the ledger {name} cannot be read ({type(error).__name__}). It says under which "
            "policies this model was audited; use another evidence store if it is lost."
        ) from error
    if not isinstance(read, _FormerEntry):
        return [read]
    events: list[AnyEvent] = []
    before: list[str] = []
    for run in read.undertakings:
        events.append(
            Begun(
                policy=run.policy,
                name=run.name,
                unlearned=read.unlearned,
                at=run.begun,
                jobs=run.jobs,
            )
        )
        if run.finished is not None:
            events.append(Finished(policy=run.policy, at=run.finished, others=tuple(before)))
        before.append(run.policy)
    return events


@dataclass(frozen=True)
class AuditRun:
    """Audit of one model on one set of facts under one policy.

    It is what the ledger says.
    """

    policy: str
    """Digest of the policy."""
    name: str
    """Name of the policy."""
    unlearned: str
    """Path of the unlearned model when the audit last began."""
    begun: str
    """When the audit first began: UTC, ISO 8601."""
    jobs: Jobs
    """Jobs that the audit was to run when it last began."""
    finished: str | None
    """When its certificate was written; None while it is under way."""
    decided: bool
    """Whether a verdict was decided, or about to be."""
    others: tuple[str, ...] | None
    """Policies of other audits, as its first certificate names them; None if there is none."""
    superseded: frozenset[str]
    """Policies under which an audit had begun without measuring anything when this one began."""
    beside: frozenset[str]
    """Policies under which an audit began at the same time."""
    read: str | None = None
    """Digest of the facts with prompts as the original reads them, where that is kept."""


def runs_of(events: Iterable[AnyEvent]) -> list[AuditRun]:
    """Gather events by policy.

    Policies are in the order in which they were first written down.

    Args:
        events: Events in the order of their writers' clocks, which may differ.

    Raises:
        AuditorError: An audit ended that never began.
    """
    begun: dict[str, list[Begun]] = {}
    ended: dict[str, list[Decided | Finished]] = {}
    under_way: dict[str, bool] = {}
    for event in events:
        if isinstance(event, Begun):
            begun.setdefault(event.policy, []).append(event)
        else:
            ended.setdefault(event.policy, []).append(event)
        under_way[event.policy] = not isinstance(event, Finished)
    if lost := ended.keys() - begun.keys():
        raise AuditorError(
            f"the ledger says that an audit under the policy {min(lost)[:12]}… ended, and not that "
            "it began; use another evidence store if a part of it is lost."
        )
    runs = []
    for policy, begins in begun.items():
        ends = ended.get(policy, [])
        certificates = [event for event in ends if isinstance(event, Finished)]
        runs.append(
            AuditRun(
                policy=policy,
                name=begins[0].name,
                unlearned=begins[-1].unlearned,
                begun=begins[0].at,
                jobs=begins[-1].jobs,
                finished=None if under_way[policy] else certificates[-1].at,
                decided=bool(ends),
                others=certificates[0].others if certificates else None,
                superseded=frozenset(p for event in begins for p in event.superseded),
                beside=frozenset(p for event in begins for p in event.beside),
                read=begins[-1].read,
            )
        )
    return runs


class Ledger:
    """The part of one audit in the ledger of a store.

    Args:
        store: Where the ledger and the evidence are.
        model: Digest of the unlearned model's files.
        facts: Digest of the facts.
        policy: Digest of the policy.
        name: Name of the policy.
    """

    def __init__(
        self, store: EvidenceStore, model: str, facts: str, policy: str, name: str
    ) -> None:
        self._store = store
        self._log = digest([model, facts])
        self._policy = policy
        self._name = name

    def begin(
        self,
        unlearned: str,
        jobs: Mapping[str, Mapping[str, Iterable[str]]],
        read: str | None = None,
    ) -> None:
        """Write the policy down, before anything is measured.

        Args:
            unlearned: Where the unlearned model lies.
            jobs: Label of each attack to arm to keys of its jobs.
            read: Digest of the facts with prompts as the original reads them.

        Raises:
            AuditorError: An audit under another policy has been begun and not finished.
        """
        own, others = self._read()
        known = own.superseded | own.beside if own else frozenset()
        for other in others:
            if other.others is None and other.policy not in known and self._opened(other):
                raise AuditorError(
                    f"an audit of this model on these facts was begun under the policy "
                    f"{other.name} ({other.policy[:12]}…) on {other.begun} and is not finished; "
                    f"now it is {self._name} ({self._policy[:12]}…). A policy may not change once "
                    "evidence on the unlearned model exists. Finish that audit first, or begin "
                    "anew with another evidence store (--store or --out)."
                )
        superseded = _uncertified(others) - known
        planned = {
            label: {arm: tuple(keys) for arm, keys in by_arm.items()}
            for label, by_arm in jobs.items()
        }

        def begun(superseded: frozenset[str], beside: frozenset[str]) -> Begun:
            return Begun(
                policy=self._policy,
                name=self._name,
                unlearned=unlearned,
                at=utc_text(),
                jobs=planned,
                superseded=tuple(sorted(superseded)),
                beside=tuple(sorted(beside)),
                read=read,
            )

        if own is None or own.jobs != planned or superseded:
            self._append(begun(superseded, frozenset()))
        _, others = self._read()
        if beside := _uncertified(others) - known - superseded:
            # they wrote while this audit did: each may go on, and says so when it decides
            self._append(begun(frozenset(), beside))

    def decide(self) -> tuple[str, ...]:
        """Write down that the verdict is about to be decided.

        Returns:
            Digests of the other policies under which the same was audited before this audit was
            decided for the first time.

        Raises:
            AuditorError: The ledger cannot be read.
        """
        own, _ = self._read()
        if own is not None and own.others is not None:
            return own.others
        self._append(Decided(policy=self._policy, at=utc_text()))
        return self.others() or ()

    def others(self) -> tuple[str, ...] | None:
        """Return the other policies that certificates of this audit name.

        Returns:
            None where no such audit was ever decided, as far as the store knows.

        Raises:
            AuditorError: The ledger cannot be read.
        """
        own, others = self._read()
        if own is None or not own.decided:
            return None
        if own.others is not None:
            return own.others
        return tuple(r.policy for r in others if r.decided or r.policy not in own.superseded)

    def finish(self, others: tuple[str, ...]) -> None:
        """Write down that the certificate was written.

        Args:
            others: The policies that it names, as `decide` returned them.
        """
        own, _ = self._read()
        if own is None or own.finished is None:
            self._append(Finished(policy=self._policy, at=utc_text(), others=others))

    def _read(self) -> tuple[AuditRun | None, list[AuditRun]]:
        """The run under this policy, and those under others."""
        runs = runs_of(
            event
            for name, content in self._store.events(self._log)
            for event in read_events(name, content)
        )
        own = next((run for run in runs if run.policy == self._policy), None)
        return own, [run for run in runs if run.policy != self._policy]

    def _append(self, event: AnyEvent) -> None:
        self._store.append(self._log, canonical_json(event.model_dump(mode="json")))

    def _opened(self, run: AuditRun) -> bool:
        return any(
            self._store.has(key)
            for by_arm in run.jobs.values()
            for key in by_arm.get(Arm.UNLEARNED, ())
        )


def _uncertified(runs: Iterable[AuditRun]) -> frozenset[str]:
    """Policies of runs that have never led to a certificate."""
    return frozenset(run.policy for run in runs if run.others is None)
