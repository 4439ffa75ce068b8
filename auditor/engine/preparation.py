"""Everything that can be checked before a model is loaded, checked."""

from dataclasses import dataclass, replace
from typing import Any

from auditor.attack import Attack
from auditor.data import checks
from auditor.data.fact import FactSets
from auditor.data.readers import read_facts
from auditor.engine.expansion import Variant, expand
from auditor.engine.job import Job, Stage
from auditor.engine.plan import AuditPlan
from auditor.errors import AuditorError
from auditor.evidence.store import EvidenceStore
from auditor.probes.knowledge import PROBES
from auditor.progress import Progress
from auditor.subjects.manifest import Location, locate


@dataclass(frozen=True)
class Prepared:
    """A plan whose inputs were found, hashed and checked."""

    plan: AuditPlan
    locations: dict[str, Location]
    """Arm to files."""
    sets: FactSets
    facts: str
    """Digest of the sets in the store."""
    variants: list[Variant]
    warnings: list[str]

    def only(self, variants: list[Variant]) -> "Prepared":
        """The same audit with fewer variants."""
        return replace(self, variants=variants)

    def unavailable(self, variant: Variant) -> str | None:
        """Why a variant cannot be measured here, or None."""
        if variant.left_out:
            return "the plan leaves it out"
        for arm, location in self.locations.items():
            if reason := variant.attack.unavailable(location):
                return f"{reason} ({arm})" if len(self.locations) > 1 else reason
        return None

    def jobs(
        self, variant: Variant, stage: Stage, pool: tuple[str, ...] = ()
    ) -> dict[str, list[Job]]:
        """Arm to its jobs (one a seed) of a variant at a stage."""
        attack: Attack[Any] = variant.attack
        seeds = self.plan.seeds if attack.seeded else self.plan.seeds[:1]
        inputs = dict(attack.inputs())
        return {
            arm: [
                Job(
                    stage=stage,
                    attack=attack.name,
                    parameters=attack.parameters.model_dump(mode="json"),
                    inputs=inputs,
                    seed=seed if attack.seeded else 0,
                    spec=spec,
                    location=self.locations[arm],
                    facts=self.facts,
                    probes=self.plan.probes.all,
                    format=self.plan.format,
                    token_budget=self.plan.token_budget,
                    pool=pool,
                )
                for seed in seeds
            ]
            for arm, spec in self.plan.arms.items()
        }


def prepare(plan: AuditPlan, store: EvidenceStore, progress: Progress) -> Prepared:
    """Read the facts, hash the models, expand the attacks.

    Raises:
        AuditorError: anything in the plan cannot be used; says what and how to mend it.
    """
    variants = expand(plan)
    sets = FactSets(
        forget=read_facts(plan.data.forget, "forget"),
        retain=read_facts(plan.data.retain, "retain") if plan.data.retain else (),
        holdout=read_facts(plan.data.holdout, "holdout") if plan.data.holdout else (),
    )
    checks.refuse_contradictions(sets)
    _refuse_unreadable(plan, sets)
    locations = {}
    with progress.task(
        "hashing the models, so that the certificate can name them", len(plan.arms)
    ) as advance:
        for arm, spec in plan.arms.items():
            locations[arm] = locate(spec)
            advance(1, arm)
    _refuse_circles(locations)
    found = [*checks.warnings(sets), *_arm_warnings(locations), *_exposed(variants, sets)]
    return Prepared(plan, locations, sets, store.put_facts(sets), variants, found)


def _refuse_unreadable(plan: AuditPlan, sets: FactSets) -> None:
    for name in plan.probes.all:
        PROBES.get(name)
    primary = PROBES.get(plan.probes.primary)()
    lacking = [f.id for f in (*sets.forget, *sets.retain) if not primary.readable(f)]
    if lacking:
        raise AuditorError(
            f"the primary probe {plan.probes.primary} needs {', '.join(primary.needs)}, which "
            f"{len(lacking)} fact(s) lack: {', '.join(lacking[:5])}{' …' if lacking[5:] else ''}."
        )


def _refuse_circles(locations: dict[str, Location]) -> None:
    unlearned = locations["unlearned"].manifest.digest
    retrained = {arm: loc.manifest.digest for arm, loc in locations.items() if "retrained" in arm}
    for arm, digest in retrained.items():
        if digest == unlearned:
            raise AuditorError(
                f"the unlearned model and {arm} are the same files; a model cannot be its own "
                "baseline. Give another retrained model."
            )
        if digest == locations["original"].manifest.digest:
            raise AuditorError(f"the original model and {arm} are the same files.")
    if len(set(retrained.values())) < len(retrained):
        raise AuditorError("two of the retrained models are the same files.")


def _arm_warnings(locations: dict[str, Location]) -> list[str]:
    found = []
    original = locations["original"].manifest.files
    if locations["unlearned"].manifest.files == original:
        found.append("the unlearned and the original model are the same files")
    for arm, location in locations.items():
        differing = [
            name
            for name in ("tokenizer.json", "tokenizer.model")
            if location.manifest.files.get(name) != original.get(name)
        ]
        if differing:
            found.append(f"{arm} has another {differing[0]} than the original")
    return found


def _exposed(variants: list[Variant], sets: FactSets) -> list[str]:
    found = []
    for variant in variants:
        held = checks.forget_text_within(sets, variant.attack.texts())
        if held:
            found.append(
                f"the calibration texts of {variant.label} hold {len(held)} forget fact(s): "
                f"{', '.join(held[:5])}{' …' if held[5:] else ''}"
            )
    return found
