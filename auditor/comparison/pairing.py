"""Differences fact by fact between two audits under the same attack."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.redaction import redact
from auditor.certificate.schema import Certificate, MatrixRow, WorstFactPart
from auditor.comparison.interval import mean_interval
from auditor.comparison.schema import ChangedFact, PairedDifference, PairedPart
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.core.roles import Status
from auditor.statistics import AttackEvidence
from auditor.statistics.arms import entity_means
from auditor.store.base import EvidenceStore
from auditor.store.columns import DECIDING, answers
from auditor.verification.load import load_inputs

FACTS = 20
"""Most facts that are listed."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Audit:
    """A certificate and where its evidence is."""

    certificate: Certificate
    path: Path
    store: EvidenceStore


@dataclass(frozen=True)
class _Pair:
    """One attack in both audits, fact by fact."""

    attacks: tuple[AttackEvidence, AttackEvidence]
    same_baseline: bool
    k: tuple[FloatArray, FloatArray]
    """K of the two unlearned models, each of shape [facts]."""
    change: FloatArray
    """D in B minus D in A, of shape [facts]."""


def pair(
    a: Audit, b: Audit, labels: Sequence[str]
) -> tuple[PairedPart, dict[str, PairedDifference]]:
    """Compare two audits fact by fact.

    Facts, original model and retrained models must be the same in both.

    Args:
        a: the audit before.
        b: the audit after.
        labels: attacks that both measured, by the same measure of knowledge.

    Returns:
        What is said of the whole, and the difference by label of the attack. An attack that does
        not have every fact on every arm has none.

    Raises:
        AuditorError: evidence is missing or was changed.
    """
    both = [_inputs(audit, labels) for audit in (a, b)]
    alpha = min(inputs.policy.alpha for inputs in both)
    sampled = any(audit.certificate.scope.scope == "sampled" for audit in (a, b))
    pairs = [found for label in labels if (found := _pair(label, a, b, both)) is not None]
    facts = both[0].sets["forget"]
    entities = [fact.entity for fact in facts] if sampled else None
    differences = {p.attacks[0].id.label: _difference(p, alpha, entities) for p in pairs}
    primary = [p for p in pairs if p.attacks[0].metric == both[0].metrics[0]]
    listed, missing = _changed_facts(a, b, both[0], primary)
    part = PairedPart(
        possible=True,
        why_not=None,
        alpha=alpha,
        unit="entities" if sampled else "facts",
        facts=listed,
        facts_missing=missing,
    )
    return part, differences


def _inputs(audit: Audit, labels: Sequence[str]) -> DecisionInputs:
    """Return the inputs of the decision without unpaired evidence.

    Evidence of other attacks and of the original model is not paired.
    """

    def needed(row: MatrixRow) -> MatrixRow:
        if row.label not in labels:
            unread = {"status": Status.UNAVAILABLE, "reason": message("not_compared")}
            return row.model_copy(update={"jobs": {}, **unread})
        jobs = {arm: keys for arm, keys in row.jobs.items() if arm != Arm.ORIGINAL}
        return row.model_copy(update={"jobs": jobs})

    rows = tuple(needed(row) for row in audit.certificate.matrix)
    # planted suppressions say nothing of the two unlearned models
    wanted = audit.certificate.model_copy(update={"matrix": rows, "positive_controls": ()})
    return load_inputs(wanted, audit.store, DECIDING)


def _pair(label: str, a: Audit, b: Audit, both: Sequence[DecisionInputs]) -> _Pair | None:
    attacks, tables = [], []
    for inputs in both:
        attack = next(attack for attack in inputs.attacks if attack.id.label == label)
        table = inputs.matrix(attack, [Arm.UNLEARNED, *inputs.retrained], "forget")
        if table is None or len(table) < 2:
            return None
        attacks.append(attack)
        tables.append(table)
    before, after = tables
    same = _baseline(a, both[0], attacks[0]) == _baseline(b, both[1], attacks[1])
    change = after[0] - before[0]
    if not same:
        change = change - (after[1:].mean(axis=0) - before[1:].mean(axis=0))
    return _Pair((attacks[0], attacks[1]), same, (before[0], after[0]), change)


def _baseline(
    audit: Audit, inputs: DecisionInputs, attack: AttackEvidence
) -> list[list[tuple[str, str]]]:
    """Return jobs and seals of the retrained models, sorted.

    Equal lists are one and the same measurement.
    """
    sealed = audit.certificate.evidence.jobs
    return sorted([(key, sealed[key]) for key in attack.jobs[arm]] for arm in inputs.retrained)


def _difference(found: _Pair, alpha: float, entities: Sequence[str] | None) -> PairedDifference:
    units = found.change if entities is None else entity_means(found.change, entities)
    lower, upper = mean_interval(units, 1.0 if found.same_baseline else 2.0, alpha)
    return PairedDifference(
        units=units.size,
        mean=float(units.mean()),
        lower=lower,
        upper=upper,
        rose=int((found.change > 0).sum()),
        fell=int((found.change < 0).sum()),
        same_baseline=found.same_baseline,
    )


def _changed_facts(
    a: Audit, b: Audit, inputs: DecisionInputs, pairs: Sequence[_Pair]
) -> tuple[tuple[ChangedFact, ...], Message | None]:
    """Return the facts that changed most.

    Each is shown under the attack that shows most of its change.

    Attacks with a measure of their own are left out: its scale is another.
    """
    if not pairs:
        return (), message("no_shared_primary_metric")
    changes = np.stack([p.change for p in pairs])  # [pairs, facts]
    strongest = np.abs(changes).argmax(axis=0)
    size = np.abs(changes).max(axis=0)
    order = [int(i) for i in np.argsort(-size, kind="stable") if size[i] > 0][:FACTS]
    facts = inputs.sets["forget"]
    said: dict[tuple[int, int], dict[str, str]] = {}

    def told(which: int, side: int, fact: str) -> str | None:
        if (which, side) not in said:
            store = (a, b)[side].store
            keys = pairs[which].attacks[side].jobs[Arm.UNLEARNED]
            said[which, side] = answers(store.rows(keys[0]), "forget")
        return said[which, side].get(fact)

    def part(index: int) -> ChangedFact:
        which, fact = int(strongest[index]), facts[index]
        return ChangedFact(
            fact=fact.id,
            entity=fact.entity,
            prompt=fact.prompt,
            answer=fact.answer,
            attack=pairs[which].attacks[0].id.label,
            change=float(changes[which, index]),
            k_a=float(pairs[which].k[0][index]),
            k_b=float(pairs[which].k[1][index]),
            said_a=told(which, 0, fact.id),
            said_b=told(which, 1, fact.id),
        )

    listed = tuple(part(index) for index in order)
    redacted = next((x for x in (a, b) if x.certificate.redaction != "none"), None)
    if redacted is None:
        return listed, None
    try:
        return _redacted(listed, redacted), None
    except AuditorError as error:
        return (), message("redaction_key_missing", quoted=("error",), error=str(error))


def _redacted(listed: Sequence[ChangedFact], audit: Audit) -> tuple[ChangedFact, ...]:
    """Return the facts as the redacted certificate would show them.

    Digests stand in place of what is redacted.
    """
    parts = tuple(
        WorstFactPart(
            fact=one.fact,
            entity=one.entity,
            prompt=one.prompt,
            answer=one.answer,
            attack=one.attack,
            metric=audit.certificate.scope.primary_metric,
            k={},
            said={
                side: said
                for side, said in (("a", one.said_a), ("b", one.said_b))
                if said is not None
            },
        )
        for one in listed
    )
    bare = audit.certificate.model_copy(update={"worst_facts": parts})
    hidden = redact(bare, audit.store.redaction_key()).worst_facts
    return tuple(
        one.model_copy(
            update={
                "fact": part.fact,
                "entity": part.entity,
                "prompt": part.prompt,
                "answer": part.answer,
                "said_a": part.said.get("a"),
                "said_b": part.said.get("b"),
            }
        )
        for one, part in zip(listed, hidden, strict=True)
    )
