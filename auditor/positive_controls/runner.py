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

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import OutOfMemoryError

from auditor.attack import quantized_with
from auditor.certificate.case import Case, Trial
from auditor.certificate.checks import PositiveControlled
from auditor.certificate.filing import case_of
from auditor.certificate.judgement import judge
from auditor.certificate.schema import PositiveControlPart, SightPart
from auditor.certificate.sight import Sight, control
from auditor.core.errors import MeasurementError
from auditor.core.progress import Progress
from auditor.engine.audit import AuditOutcome, run_audit
from auditor.engine.executors.base import Executor
from auditor.engine.expansion import Variant
from auditor.engine.preparation import Prepared
from auditor.evidence.store import EvidenceStore
from auditor.models.grid import Grid
from auditor.policy import AS_IS
from auditor.positive_controls.planting import Known, Plant, Planter
from auditor.statistics import Decision, PlantKind


def run_controls(
    outcome: AuditOutcome, store: EvidenceStore, executor: Executor, progress: Progress
) -> PositiveControlled:
    """Plant suppressions in the original and have every mandatory attack look for them.

    Args:
        outcome: the audit, finished; attacks that left no evidence are not held to anything.
        store: where evidence and plants are kept.
        executor: runs the attacks on the plants.
        progress: is told how far it has come.
    """
    case = case_of(outcome)
    decision = judge(case)
    known, reason = _known(case, decision)
    if known is None:
        return PositiveControlled(reason=reason)
    garden = _Garden(outcome, Planter(outcome.prepared, known, store, progress))
    held = [
        entry.variant
        for entry, assessment in zip(outcome.variants, decision.attacks, strict=True)
        if assessment.mandatory and assessment.figures is not None
    ]
    tests = sum(a.figures is not None and not a.reported for a in decision.attacks)
    partial = garden.plant("partial")
    if isinstance(partial, str):
        return PositiveControlled(reason=f"a partial suppression could not be planted: {partial}")
    seals: dict[str, str] = {}

    def look(plant: Plant, variants: Sequence[Variant]) -> dict[str, _Look]:
        seen = run_audit(_on_trial(outcome, plant, variants), store, executor, progress)
        seals.update(seen.seals)
        tried = case_of(seen)
        return {
            a.name: _Look(Sight(plant, a, case.policy.alpha, tests), plant, tried, trial)
            for a, trial in zip(judge(tried).attacks, tried.trials, strict=True)
        }

    partly = look(partial, held)
    hidden: dict[str, _Look | str] = {}
    for grid, variants in by_grid(held):
        plant = garden.plant("hidden", grid)
        if isinstance(plant, str):
            hidden |= dict.fromkeys((v.label for v in variants), plant)
        else:
            seen = look(plant, variants)
            hidden |= {v.label: seen[v.label] for v in variants}
    parts = tuple(_part(v, partly[v.label], hidden[v.label]) for v in held)
    found = {
        v.label: control(
            v.label,
            v.attack.must_find,
            partly[v.label].sight,
            entry if isinstance(entry := hidden[v.label], str) else entry.sight,
        )
        for v in held
    }
    return PositiveControlled(found, None, parts, seals)


class _Look(NamedTuple):
    """An attack's look at a plant, and where the evidence of it is."""

    sight: Sight
    plant: Plant
    case: Case
    trial: Trial

    @property
    def part(self) -> SightPart:
        """The look as the certificate has it."""
        return SightPart(
            kind=self.plant.kind,
            grid=self.plant.grid,
            left=self.plant.left,
            digest=self.plant.location.manifest.digest,
            as_is={arm: tuple(keys) for arm, keys in self.case.as_is.jobs.items()},
            jobs={arm: tuple(keys) for arm, keys in self.trial.jobs.items()},
        )


def _part(variant: Variant, partial: _Look, hidden: _Look | str) -> PositiveControlPart:
    return PositiveControlPart(
        attack=variant.label,
        must_find=variant.attack.must_find,
        partial=partial.part,
        hidden=None if isinstance(hidden, str) else hidden.part,
        hidden_missing=hidden if isinstance(hidden, str) else None,
    )


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


def _known(case: Case, decision: Decision) -> tuple[Known | None, str]:
    """What O and R know without attack, or why that is no ground to plant anything in."""
    if not case.sets["retain"]:
        return None, "there is no retain set, so nothing can pass anyway"
    entry = next(attack for attack in decision.attacks if attack.baseline)
    if entry.figures is None:
        return None, "the models were not measured without attack"
    if not entry.counts:
        return None, "the original was not shown to know what could be suppressed"
    table = case.matrix(case.as_is, ["original", *case.retrained], "forget")
    if table is None:  # pragma: no cover - there are figures, so every fact was measured
        raise ValueError("figures without evidence")
    return Known(float(table[0].mean()), float(table[1:].mean(axis=1).mean())), ""


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
