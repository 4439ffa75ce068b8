"""Sources of evidence: a certificate, or a ledger's entry, with its store."""

import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from auditor.certificate.redaction import Change, marker
from auditor.certificate.schema import Certificate, PromptsPart
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.core.facts import SET_NAMES, Fact, FactSets, SetName
from auditor.store.base import EvidenceStore
from auditor.store.ledger import AuditRun


@dataclass(frozen=True)
class MeasuredAttack:
    """An attack, and the jobs in which its evidence is."""

    id: AttackId
    jobs: Mapping[str, tuple[str, ...]]
    """Arm to the keys of its jobs, one a seed."""
    metric: str | None = None
    """Leading metric; None where nothing but the evidence says it."""


@dataclass(frozen=True)
class PromptsAsRead:
    """Prompts as the original reads them, as far as they were kept."""

    kept: Mapping[str, str] = field(default_factory=dict)
    """Id of a fact to what is read."""
    frames: Mapping[SetName, tuple[str, str]] = field(default_factory=dict)
    """Text before and after the prompts of a set, where only the first was kept; by it the others
    are put together."""

    def read(self, name: SetName, fact: Fact) -> str | None:
        """Return what is read of a fact's prompt, or None."""
        if fact.id in self.kept or name not in self.frames:
            return self.kept.get(fact.id)
        before, after = self.frames[name]
        return f"{before}{fact.prompt}{after}"


@dataclass(frozen=True)
class EvidenceSource:
    """Evidence that a page shows, and where it lies."""

    model: str | None
    """Name of the unlearned model."""
    verdict: str | None
    """Verdict of the certificate; None for an audit that has none yet."""
    store: EvidenceStore
    facts: FactSets
    attacks: tuple[MeasuredAttack, ...]
    absent: tuple[str, ...]
    """Labels of attacks that the audit lists and that have no evidence."""
    arms: tuple[Arm, ...]
    """Models, and models asked other facts, in their order."""
    listed: Mapping[str, str] | None
    """Digest of each job's evidence, as the certificate lists it; None without a certificate."""
    baseline: Baseline | None
    """Baseline of the verdict; None without a certificate."""
    prompts: PromptsAsRead
    """Prompts as the original reads them."""
    redacted: Change | None
    """Function that stands a digest in the place of a text; None where texts are shown."""


def of_certificate(certificate: Certificate, store: EvidenceStore) -> EvidenceSource:
    """Return the source of a certificate's page.

    Texts of a redacted certificate are redacted: by the store's key, by which `auditor audit`
    redacts, or by a key of this moment where it has none.

    Raises:
        AuditorError: The facts are not there, or were changed.
    """
    matrix = certificate.matrix
    facts = store.facts(certificate.identity.facts_digest)
    return EvidenceSource(
        model=certificate.name,
        verdict=certificate.verdict.title,
        store=store,
        facts=facts,
        attacks=tuple(
            MeasuredAttack(row.id, row.jobs, row.metric) for row in matrix if any(row.jobs.values())
        ),
        absent=tuple(row.label for row in matrix if not any(row.jobs.values())),
        arms=_arms(row.jobs for row in matrix),
        listed=certificate.evidence.jobs,
        baseline=certificate.verdict.baseline,
        prompts=_prompts(certificate.reproduction.prompts, facts, store),
        redacted=None if certificate.redaction == "none" else _redacting(store),
    )


def of_run(run: AuditRun, store: EvidenceStore, *, redacted: bool) -> EvidenceSource:
    """Return the source of an audit that a ledger names.

    Args:
        run: The audit; it may be under way.
        store: Its evidence.
        redacted: Whether texts are replaced by digests.

    Raises:
        AuditorError: No job is done, or the facts are not there.
    """
    done = {
        label: {arm: tuple(filter(store.has, keys)) for arm, keys in by_arm.items()}
        for label, by_arm in run.jobs.items()
    }
    keys = [key for by_arm in done.values() for own in by_arm.values() for key in own]
    if not keys:
        raise EvidenceChangedError(f"no job of this audit is done in {store.name}.")
    facts = str(_asked_of_forget(done, store).get("facts"))
    measured = {label: by_arm for label, by_arm in done.items() if any(by_arm.values())}
    return EvidenceSource(
        model=run.unlearned,
        verdict=None,
        store=store,
        facts=store.facts(facts),
        attacks=tuple(MeasuredAttack(AttackId.parse(n), jobs) for n, jobs in measured.items()),
        absent=tuple(label for label in done if label not in measured),
        arms=_arms(run.jobs.values()),
        listed=None,
        baseline=None,
        prompts=_kept(run.read, store),
        redacted=_redacting(store) if redacted else None,
    )


def _prompts(part: PromptsPart | None, facts: FactSets, store: EvidenceStore) -> PromptsAsRead:
    """Return the prompts as read that the store keeps.

    Where it keeps none, they are put together by the shown ones.
    """
    if part is None:
        return PromptsAsRead()
    held = _kept(part.read, store)
    if held.kept:
        return held
    frames: dict[SetName, tuple[str, str]] = {}
    for shown in part.shown:
        own = next((f.prompt for f in facts.named(shown.set) if f.id == shown.fact), None)
        if own is not None and shown.text.count(own) == 1:
            before, _, after = shown.text.partition(own)
            frames[shown.set] = (before, after)
    return PromptsAsRead({shown.fact: shown.text for shown in part.shown}, frames)


def _kept(key: str | None, store: EvidenceStore) -> PromptsAsRead:
    """Return the prompts as read of a digest."""
    if key is None:
        return PromptsAsRead()
    try:
        read = store.facts(key)
    except (AuditorError, OSError):
        return PromptsAsRead()
    return PromptsAsRead({fact.id: fact.prompt for name in SET_NAMES for fact in read.named(name)})


def _asked_of_forget(
    done: Mapping[str, Mapping[str, tuple[str, ...]]], store: EvidenceStore
) -> Mapping[str, object]:
    """Return what a job about the forget set itself was asked."""
    for by_arm in done.values():
        for arm, keys in by_arm.items():
            if keys and not Arm(arm).world:
                return store.identity(keys[0])
    raise EvidenceChangedError(f"no job about the forget set is done in {store.name}.")


def _arms(jobs: Iterable[Mapping[str, object]]) -> tuple[Arm, ...]:
    found = {Arm(arm) for by_arm in jobs for arm in by_arm}
    return tuple(sorted(found, key=lambda arm: arm.place))


def _redacting(store: EvidenceStore) -> Change:
    with suppress(AuditorError, OSError):
        return marker(store.redaction_key())
    return marker(secrets.token_bytes(32))
