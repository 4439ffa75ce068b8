"""Arrays for statistics, gathered from the table of evidence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.core.arms import Arm, World
from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.facts import Fact, FactSets
from auditor.core.messages import Message, message
from auditor.core.records import SPECIFICITY
from auditor.core.roles import Role, Status
from auditor.data.null_facts import forms, worlds
from auditor.statistics import Arms, AttackEvidence, Reading
from auditor.statistics.answer_structure import coded_answers
from auditor.statistics.arms import Null
from auditor.statistics.betting import FloatArray
from auditor.statistics.dormant_units import more_dormant
from auditor.statistics.effect import lacking_effect
from auditor.statistics.holdout_blocks import BLOCK
from auditor.statistics.tokenization import asked_otherwise, read_otherwise
from auditor.statistics.weights import unchanged_body, unchanged_codes
from auditor.store.base import EvidenceStore
from auditor.store.columns import ANSWERED, answers
from auditor.store.environment_differences import environment_differences
from auditor.store.table import EvidenceTable


def measured_evidence(
    table: EvidenceTable,
    attack: AttackId,
    role: Role,
    metrics: Sequence[str],
    jobs: Mapping[str, tuple[str, ...]],
    arms: Sequence[str],
    facts: Sequence[Fact],
    *,
    baseline: bool,
    null: "NullFacts | None" = None,
    reported: Sequence[str] = (),
    shortfall: Message | None = None,
    environment: Message | None = None,
    effect: Message | None = None,
    weights: Message | None = None,
    dormant_units: Message | None = None,
    code: Message | None = None,
    tokenization: Message | None = None,
) -> AttackEvidence:
    """Gather the evidence of an attack that was measured.

    An attack that lacks any fact on any arm, by any of the metrics, has failed: nothing is filled
    in.

    Args:
        table: the evidence.
        attack: the attack and its level.
        role: its role in the verdict.
        metrics: the measures of K that decide on it, the leading one first.
        jobs: arm to the keys of its evidence.
        arms: unlearned, original, then every retrained model.
        facts: facts of the forget set.
        baseline: whether it is the model as it is.
        null: facts by which the models' own knowledge is the baseline; None where other models are.
        reported: metrics that do not decide, and must not contradict those that do.
        shortfall: how it falls short of the policy's budget.
        environment: how the environments of its arms differ.
        effect: how it lacks the effect that it must have.
        weights: what the weights themselves say against a PASS.
        dormant_units: that more units of the unlearned model never act than of any other.
        code: that the unlearned model answers in a code.
        tokenization: which arms' own tokenizers read facts otherwise than the original's.
    """
    entities = tuple(fact.entity for fact in facts)
    ids = [fact.id for fact in facts]
    known = {metric: table.matrix(attack, arms, "forget", metric, ids) for metric in metrics}
    blocks = _blocks(table, attack, arms, ids)
    readings = [
        Reading(metric, found)
        for metric, k in known.items()
        if k is not None
        if (found := _arms(table, attack, arms, metric, k, entities, blocks, null)) is not None
    ]
    complete = len(readings) == len(known)
    own = table.matrix(attack, arms, "forget", SPECIFICITY, ids) if baseline else None
    return AttackEvidence(
        id=attack,
        role=role,
        readings=tuple(readings) if complete else unread(metrics),
        status=Status.MEASURED if complete else Status.FAILED,
        reason=None if complete else message("measurement_incomplete"),
        jobs=jobs,
        reported=tuple(_beside(table, attack, reported, arms, facts, null)) if complete else (),
        baseline=baseline,
        shortfall=shortfall,
        environment=environment,
        effect=effect,
        weights=weights,
        dormant_units=dormant_units,
        code=code,
        specificity=None
        if own is None
        else _arms(table, attack, arms, SPECIFICITY, own, entities, blocks, null),
        tokenization=tokenization,
    )


@dataclass(frozen=True)
class NullFacts:
    """Facts by which the models' own knowledge is the baseline.

    Attributes:
        facts: those that stand for what is not known.
        paired: whether each stands beside the fact to forget whose prompt it shares.
        forms: form of each fact to forget.
        checks: facts that no model saw, by which the null is checked; empty where models do.
    """

    facts: tuple[Fact, ...]
    paired: bool
    forms: tuple[str, ...]
    checks: tuple[Fact, ...] = ()


def null_of(sets: FactSets, baseline: Baseline) -> NullFacts | None:
    """Return the facts by which the models' own knowledge is the baseline.

    Args:
        sets: sets of the audit.
        baseline: baseline of the audit.

    Returns:
        None where other models are the baseline.
    """
    found = worlds(sets, baseline)
    if not found:
        return None
    return NullFacts(
        facts=found["null"].forget,
        paired=baseline is Baseline.OWN_NULL,
        forms=tuple(forms(sets.forget)),
        checks=found["check"].forget if "check" in found else (),
    )


def _arms(
    table: EvidenceTable,
    attack: AttackId,
    arms: Sequence[str],
    metric: str,
    k: FloatArray,
    entities: tuple[str, ...],
    blocks: tuple[str, ...] | None,
    null: NullFacts | None,
) -> Arms | None:
    """Return knowledge of every arm, with that of the null.

    Args:
        table: the evidence.
        attack: the attack and its level.
        arms: unlearned, original, then the other models.
        metric: measure of K.
        k: knowledge of the facts to forget [arms, n].
        entities: entity of each.
        blocks: block of each, where it was placed among others.
        null: facts that stand for what is not known.

    Returns:
        None where any knowledge of the null is missing.
    """
    if null is None:
        return Arms(k[0], k[1], k[2:], entities, blocks)
    models = [Arm(arm) for arm in arms]

    def of(world: World, asked: Sequence[Arm], facts: Sequence[Fact]) -> FloatArray | None:
        within = [model.within(world) for model in asked]
        return table.matrix(attack, within, "forget", metric, [fact.id for fact in facts])

    others = of("null", models, null.facts)
    if others is None:
        return None
    level: float | None = float(others[1].mean())
    advantage: float | None = None
    if null.paired:
        level = None
    if len(models) > 2:
        level = float(others[2:].mean()) if null.paired else level
        advantage = float(k[2:].mean() - others[2:].mean())
    if null.checks:
        unlearned = models[:1]
        seen, exchanged = (of(w, unlearned, null.checks) for w in ("check", "check-null"))
        if seen is None or exchanged is None:
            return None
        level, advantage = float(exchanged.mean()), float(seen.mean() - exchanged.mean())
    beside = Null(
        others[0],
        others[1],
        tuple(fact.entity for fact in null.facts),
        null.paired,
        null.forms,
        tuple(forms(null.facts)),
        level,
        advantage,
    )
    return Arms(k[0], k[1], k[2:], entities, blocks, beside)


def _blocks(
    table: EvidenceTable, attack: AttackId, arms: Sequence[str], facts: Sequence[str]
) -> tuple[str, ...] | None:
    """Return the block of each fact, where it was placed among others."""
    found = table.matrix(attack, arms, "forget", BLOCK, facts)
    if found is None:
        return None
    return tuple("/".join(map(str, column)) for column in found.T.tolist())


def _beside(
    table: EvidenceTable,
    attack: AttackId,
    metrics: Sequence[str],
    arms: Sequence[str],
    facts: Sequence[Fact],
    null: "NullFacts | None",
) -> Iterator[Reading]:
    """Yield the readings of other metrics.

    Each is on the facts that the metric read on every arm. Beside facts that stand for what is not
    known it must have read all.
    """
    for metric in metrics:
        known = [table.knowledge(attack, arm, "forget", metric) for arm in arms]
        read = [fact for fact in facts if all(fact.id in k for k in known)]
        if read:
            k = np.array([[of_arm[fact.id] for fact in read] for of_arm in known])
            entities = tuple(fact.entity for fact in read)
            if null is None:
                yield Reading(metric, Arms(k[0], k[1], k[2:], entities))
            elif len(read) == len(facts):
                arms_ = _arms(table, attack, arms, metric, k, entities, None, null)
                if arms_ is not None:
                    yield Reading(metric, arms_)


def unread(metrics: Sequence[str]) -> tuple[Reading, ...]:
    """Return empty readings of an attack that was not measured.

    They name the metrics that would decide on it.
    """
    return tuple(Reading(metric) for metric in metrics)


def environment_message(
    store: EvidenceStore, attack: AttackId, jobs: Mapping[str, tuple[str, ...]]
) -> Message | None:
    """Return how the environments of an attack's arms differ, or None.

    Such evidence is shown and can FAIL a model; a PASS needs arms that were treated alike.

    Args:
        store: where the evidence is.
        attack: the attack and its level.
        jobs: arm to the keys of its evidence.

    Returns:
        None where they do not differ.

    Raises:
        EvidenceChangedError: evidence was changed after it was measured, or is not there.
    """
    differences = environment_differences(store, jobs)
    if not differences:
        return None
    return message(
        "environments_differ",
        attack=attack.label,
        differences={entry.what: dict(entry.values) for entry in differences},
    )


def is_noted(store: EvidenceStore, jobs: Mapping[str, tuple[str, ...]], what: str) -> bool:
    """Return whether jobs without attack noted something of a model.

    Args:
        store: where the evidence is.
        jobs: arm to the keys of its evidence.
        what: ``experts`` or ``traces``.

    Raises:
        EvidenceChangedError: evidence was changed after it was measured, or is not there.
    """
    return any(store.notes(key).get(what) is True for keys in jobs.values() for key in keys)


def weights_message(
    store: EvidenceStore, attack: AttackId, jobs: Mapping[str, tuple[str, ...]]
) -> Message | None:
    """Return what the unlearned model's weights say against a PASS.

    A job noted it.

    Args:
        store: where the evidence is.
        attack: the attack and its level.
        jobs: arm to the keys of its evidence.

    Returns:
        None where they do not, or the attack keeps nothing of the weights.

    Raises:
        EvidenceChangedError: evidence was changed after it was measured, or is not there.
    """
    unlearned, original = (jobs.get(arm, ()) for arm in (Arm.UNLEARNED, Arm.ORIGINAL))
    if not unlearned or not original:
        return None
    found = unchanged_body(attack.label, store.notes(unlearned[0]))
    if found is not None or unlearned[0] == original[0]:
        return found
    codes = [store.arrays(keys[0]) for keys in (unlearned, original)]
    return unchanged_codes(attack.label, *codes)


def dormant_units_message(
    store: EvidenceStore, attack: AttackId, jobs: Mapping[str, tuple[str, ...]]
) -> Message | None:
    """Return that more units of the unlearned model never act, or None.

    Jobs noted how many do, on every arm.

    Args:
        store: where the evidence is.
        attack: the attack and its level.
        jobs: arm to the keys of its evidence.

    Raises:
        EvidenceChangedError: evidence was changed after it was measured, or is not there.
    """
    return more_dormant(
        attack.label, {arm: [store.notes(key) for key in keys] for arm, keys in jobs.items()}
    )


def tokenization_message(
    store: EvidenceStore,
    attack: AttackId,
    jobs: Mapping[str, tuple[str, ...]],
    *,
    baseline: bool,
) -> Message | None:
    """Return which arms' own tokenizers read facts otherwise, or None.

    Their jobs noted it, or were asked in other tokens. Such arms were asked unlike things by all
    attacks.

    Args:
        store: where the evidence is.
        attack: the attack and its level.
        jobs: arm to the keys of its evidence.
        baseline: whether it is the model as it is, which speaks for all attacks.

    Raises:
        EvidenceChangedError: evidence was changed after it was measured, or is not there.
    """
    notes = {arm: [store.notes(key) for key in keys] for arm, keys in jobs.items()}
    if (noted := read_otherwise(attack.label, notes)) is not None or not baseline:
        return noted
    prompts = {arm: store.identity(keys[0]).get("prompts") for arm, keys in jobs.items() if keys}
    return asked_otherwise(attack.label, prompts)


def code_message(
    store: EvidenceStore,
    attack: AttackId,
    facts: Sequence[Fact],
    jobs: Mapping[str, tuple[str, ...]],
) -> Message | None:
    """Return that the unlearned model answers in a code, or None.

    Args:
        store: where the evidence is.
        attack: the model as it is.
        facts: the forget set.
        jobs: arm to the keys of its evidence.

    Raises:
        EvidenceChangedError: evidence was changed after it was measured, or is not there.
    """
    said = {arm: answers(store.rows(keys[0], ANSWERED), "forget") for arm, keys in jobs.items()}
    return coded_answers(attack.label, facts, said)


def effect_message(
    store: EvidenceStore,
    attack: AttackId,
    declared: str | None,
    jobs: Mapping[str, tuple[str, ...]],
) -> Message | None:
    """Return how an attack lacks the effect that it must have.

    All its jobs noted its effect.

    Args:
        store: where the evidence is.
        attack: the attack and its level.
        declared: what it must move; None where that is not known, and then what a job notes is.
        jobs: arm to the keys of its evidence, a seed each.

    Returns:
        None where the effect is there, or none is declared or noted.

    Raises:
        EvidenceChangedError: evidence was changed after it was measured, or is not there.
    """
    noted = {arm: [store.notes(key).get("effect") for key in keys] for arm, keys in jobs.items()}
    found = next((note for notes in noted.values() for note in notes if note), None)
    measure = declared or (found and str(found.get("measure")))
    return lacking_effect(attack.label, measure, noted) if noted and measure else None
