"""The ledger of an evidence store: which audits it has seen, under which policies.

A policy that is chosen after the evidence was seen proves nothing. So an audit writes its policy's
digest, and the jobs that it will run, into the store before the unlearned model is opened. Whoever
has begun cannot go on under another policy; whoever has finished may audit again under another,
and the new certificate says so.
"""

from collections.abc import Mapping, Sequence

from auditor.core.errors import AuditorError
from auditor.core.files import write_whole
from auditor.core.hashing import digest
from auditor.core.time import utc_text
from auditor.engine.job import Job
from auditor.engine.preparation import Prepared
from auditor.evidence.ledger_entries import FOLDER, Entry, Undertaking, read_entry
from auditor.evidence.store import EvidenceStore


class Ledger:
    """The entry of one audit."""

    def __init__(self, prepared: Prepared, store: EvidenceStore) -> None:
        self._store = store
        self._policy = prepared.plan.policy
        self._jobs = planned_jobs(prepared)
        self._unlearned = prepared.plan.unlearned.path
        subject = prepared.locations["unlearned"].manifest.digest
        self._file = store.root / FOLDER / f"{digest([subject, prepared.facts])}.json"

    def begin(self) -> tuple[str, ...]:
        """Write the policy down, before anything is measured.

        Returns:
            Digests of the other policies under which the same was audited before.

        Raises:
            AuditorError: an audit under another policy has been begun and not finished.
        """
        entry = read_entry(self._file) if self._file.exists() else Entry(unlearned=self._unlearned)
        held = [u for u in entry.undertakings if not self._policy.has_digest(u.policy)]
        for other in held:
            if other.finished is None and self._opened(other):
                raise AuditorError(
                    f"an audit of this model on these facts was begun under the policy "
                    f"{other.name} ({other.policy[:12]}…) on {other.begun} and is not finished; "
                    f"now it is {self._policy.name} ({self._policy.digest[:12]}…). A policy "
                    "may not change once evidence on the unlearned model exists. Finish that audit "
                    "first, or begin anew with another evidence store (--store or --out)."
                )
        known = [u.policy for u in entry.undertakings]
        if self._policy.digest not in known:
            begun = Undertaking(
                policy=self._policy.digest,
                name=self._policy.name,
                begun=utc_text(),
                jobs=self._jobs,
            )
            kept = [u for u in entry.undertakings if u.finished or self._opened(u)]
            entry = entry.model_copy(update={"undertakings": (*kept, begun)})
            known = [u.policy for u in entry.undertakings]
        else:
            entry = self._with(entry, jobs=self._jobs)
        self._write(entry)
        earlier = known[: known.index(self._policy.digest)]
        return tuple(policy for policy in earlier if not self._policy.has_digest(policy))

    def finish(self) -> None:
        """Write down that the certificate was made."""
        self._write(self._with(read_entry(self._file), finished=utc_text()))

    def _with(self, entry: Entry, **changes: object) -> Entry:
        undertakings = tuple(
            u.model_copy(update=changes) if u.policy == self._policy.digest else u
            for u in entry.undertakings
        )
        return entry.model_copy(update={"undertakings": undertakings})

    def _opened(self, undertaking: Undertaking) -> bool:
        return any(
            self._store.has(key)
            for by_arm in undertaking.jobs.values()
            for key in by_arm.get("unlearned", ())
        )

    def _write(self, entry: Entry) -> None:
        self._file.parent.mkdir(exist_ok=True)
        write_whole(self._file, entry.model_dump_json().encode())


def planned_jobs(prepared: Prepared) -> dict[str, dict[str, tuple[str, ...]]]:
    """Label of each attack that can run to arm to the keys of its jobs, searches first."""
    planned: dict[str, dict[str, tuple[str, ...]]] = {}
    for variant in prepared.variants:
        if prepared.unavailable(variant) is not None:
            continue
        searches = prepared.searches(variant) if variant.attack.searches else {}
        stages: tuple[Mapping[str, Sequence[Job]], ...] = (
            searches,
            prepared.measurements(variant, searches),
        )
        planned[variant.label] = {
            arm: tuple(job.key for stage in stages for job in stage.get(arm, ()))
            for arm in prepared.locations
        }
    return planned
