"""Positive controls: would the mandatory attacks have found something, had it been there?

An attack that finds nothing proves something only if it would have found something. A copy of
the original in which the forget answers are suppressed by a known method (a plant) is audited in
place of the unlearned model, with the same attacks, parameters, seeds and statistics; the
evidence on the original and the retrained models is that of the audit itself.

There are two kinds, and an attack class says to which it is held; what it sees of the other is
shown. Of the *partial* plant clearly more is left than the margin allows: an attack that names
it neither blurs nor destroys what is there. Of the *hidden* plant nothing is left to be seen: it
is for attacks that claim to bring knowledge back. For those that round weights one by one it is
planted within the cells of their rounding (arXiv 2405.18137), so that the rounding undoes it.
They are not held to the partial plant, for coarse rounding does blur what is half forgotten, and
a model under audit must pass as it is besides.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import OutOfMemoryError

from auditor.attack import quantized_with
from auditor.certificate.judgement import as_is, judge, retrained_arms
from auditor.controls.planting import Known, Plant, Planter
from auditor.controls.sight import Sight, control
from auditor.engine.audit import AuditOutcome, run_audit
from auditor.engine.execution import Executor
from auditor.engine.expansion import AS_IS, Variant
from auditor.engine.preparation import Prepared
from auditor.errors import MeasurementError
from auditor.evidence.store import EvidenceStore
from auditor.progress import Progress
from auditor.statistics import Control, Decision, PlantKind
from auditor.subjects.grid import Grid


@dataclass(frozen=True)
class PositiveControls:
    """What the mandatory attacks made of what was planted for them."""

    found: Mapping[str, Control] | None
    """Label of an attack to its control; None where nothing could be planted."""
    reason: str | None
    """Why nothing was planted."""
    seals: Mapping[str, str] = field(default_factory=dict)
    """Job key to the digest of the evidence on the plants."""
    seconds: float = 0.0


def run_controls(
    outcome: AuditOutcome, store: EvidenceStore, executor: Executor, progress: Progress
) -> PositiveControls:
    """Plant suppressions in the original and have every mandatory attack look for them.

    Args:
        outcome: the audit, finished; attacks that left no evidence are not held to anything.
        store: where evidence and plants are kept.
        executor: runs the attacks on the plants.
        progress: is told how far it has come.
    """
    began = time.monotonic()
    decision = judge(outcome)
    known, reason = _known(outcome, decision)
    if known is None:
        return PositiveControls(None, reason)
    garden = _Garden(outcome, Planter(outcome.prepared, known, store, progress))
    held = [
        entry.variant
        for entry, assessment in zip(outcome.variants, decision.attacks, strict=True)
        if assessment.mandatory and assessment.figures is not None
    ]
    tests = sum(a.figures is not None and not a.reported for a in decision.attacks)
    partial = garden.plant("partial")
    if isinstance(partial, str):
        return PositiveControls(None, f"a partial suppression could not be planted: {partial}")
    seals: dict[str, str] = {}

    def look(plant: Plant, variants: Sequence[Variant]) -> dict[str, Sight]:
        seen = run_audit(_on_trial(outcome, plant, variants), store, executor, progress)
        seals.update(seen.seals)
        alpha = outcome.prepared.plan.policy.alpha
        return {a.name: Sight(plant, a, alpha, tests) for a in judge(seen).attacks}

    partly = look(partial, held)
    hidden: dict[str, Sight | str] = {}
    for grid, variants in by_grid(held):
        plant = garden.plant("hidden", grid)
        if isinstance(plant, str):
            hidden |= dict.fromkeys((v.label for v in variants), plant)
        else:
            seen = look(plant, variants)
            hidden |= {v.label: seen[v.label] for v in variants}
    found = {
        v.label: control(v.label, v.attack.must_find, partly[v.label], hidden[v.label])
        for v in held
    }
    return PositiveControls(found, None, seals, time.monotonic() - began)


class _Garden:
    """Plants, or why there are none."""

    def __init__(self, outcome: AuditOutcome, planter: Planter) -> None:
        self._method = quantized_with(outcome.prepared.locations["original"].model)
        self._planter = planter

    def plant(self, kind: PlantKind, grid: Grid | None = None) -> Plant | str:
        if self._method:
            return f"the original is quantized ({self._method}) and its weights cannot be trained"
        try:
            return self._planter.plant(kind, grid)
        except (MeasurementError, OutOfMemoryError) as error:
            return str(error).rstrip(".")


def _known(outcome: AuditOutcome, decision: Decision) -> tuple[Known | None, str]:
    """What O and R know without attack, or why that is no ground to plant anything in."""
    if not outcome.prepared.sets.retain:
        return None, "there is no retain set, so nothing can pass anyway"
    entry = next(attack for attack in decision.attacks if attack.baseline)
    if entry.figures is None:
        return None, "the models were not measured without attack"
    if not entry.counts:
        return None, "the original was not shown to know what could be suppressed"
    attack, probe = as_is(outcome).variant.attack, outcome.prepared.plan.probes.primary

    def mean(arm: str) -> float:
        k = outcome.table.knowledge(attack.name, attack.variant, arm, "forget", probe)
        return float(np.mean([k[fact.id] for fact in outcome.prepared.sets.forget]))

    return Known(mean("original"), float(np.mean([*map(mean, retrained_arms(outcome))]))), ""


def by_grid(variants: Sequence[Variant]) -> list[tuple[Grid | None, list[Variant]]]:
    """Variants that share a hidden plant."""
    groups: dict[str | None, tuple[Grid | None, list[Variant]]] = {}
    for variant in variants:
        grid = variant.attack.grid
        groups.setdefault(grid.name if grid else None, (grid, []))[1].append(variant)
    return list(groups.values())


def _on_trial(outcome: AuditOutcome, plant: Plant, variants: Sequence[Variant]) -> Prepared:
    """The audit with a plant in place of the unlearned model, and some of its variants."""
    prepared = outcome.prepared
    return replace(
        prepared,
        plan=prepared.plan.model_copy(update={"unlearned": plant.spec}),
        locations={**prepared.locations, "unlearned": plant.location},
        variants=[v for v in prepared.variants if v in variants or v.attack.name == AS_IS],
    )
