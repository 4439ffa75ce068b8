"""Everything that can be checked before a model is loaded, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auditor.attack import ATTACKS, AnyAttack
from auditor.core.arms import Arm, World
from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.core.messages import Message, message
from auditor.core.progress import Progress
from auditor.core.roles import Role
from auditor.data import checks, null_facts
from auditor.data.folds import names_entities
from auditor.engine.expansion import Variant, expand, explicit, inapplicable
from auditor.engine.job import Donor, Job, Pooled, Stage, measuring_code, writing_code
from auditor.engine.locations import Locations
from auditor.engine.plan import AuditPlan
from auditor.engine.plan_checks import missing, problems_of_sets, read_sets
from auditor.engine.plan_warnings import PlannedAttack, plan_warnings
from auditor.metrics.metric import METRICS
from auditor.models.asked import AskedFacts, asking_warnings
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.manifest import Location
from auditor.models.opening import asked_facts, check_unopenable, locate
from auditor.models.prompts_as_read import facts_as_read
from auditor.models.provenance import Provenance, asked_otherwise, provenances, unchecked
from auditor.models.spec import PromptFormat
from auditor.models.text_engine import AskedEngine, engine_versions
from auditor.policy import check_expired
from auditor.statistics.weights import LEAST_CHANGE
from auditor.store.base import EvidenceStore


@dataclass(frozen=True)
class TriedFormat:
    """Format of prompts, and what the original knows in it."""

    format: PromptFormat
    k: float
    """Mean K of a sample of the forget facts."""
    job: str
    """Key of the evidence."""
    seal: str
    """Digest of the evidence."""


@dataclass(frozen=True)
class Prepared:
    """A plan whose inputs were found, hashed and checked."""

    plan: AuditPlan
    locations: dict[str, Location]
    """Locations of the models by arm."""
    sets: FactSets
    facts: str
    """Digest of the sets in the store."""
    variants: list[Variant]
    warnings: list[Message]
    auxiliary: AuxiliaryInputs = field(default_factory=AuxiliaryInputs)
    """Classifier and pictures, where the plan names some."""
    formats: tuple[TriedFormat, ...] = ()
    """Formats that were tried on the original, the plan's first."""
    asked: Mapping[str, AskedFacts] = field(default_factory=dict)
    """Token ids that each arm is asked in; empty for kinds that are asked in none."""
    read: str | None = None
    """Digest in the store of the facts with prompts as the original reads them; None for kinds that
    do not say how they read them."""
    others: Mapping[World, str] = field(default_factory=dict)
    """World to the digest in the store of the facts that are asked in the forget set's place."""
    built: Mapping[str, Provenance] = field(default_factory=dict)
    """Provenance of baselines that were built, by arm."""
    audited: Mapping[str, Location] | None = None
    """Models by which it is told whether an attack asks anything new, where they are others than
    those that it is put to."""
    engine: AskedEngine | None = None
    """What writes texts in place of transformers, where the plan names it."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every arm: the models, and those asked other facts."""
        models = tuple(map(Arm, self.plan.arms))
        pairs = null_facts.asked(tuple(self.others), models)
        return (*models, *(model.within(world) for world, model in pairs))

    @property
    def entities(self) -> bool:
        """Whether any entity has several forget facts."""
        return names_entities(self.sets.forget)

    @property
    def experts(self) -> bool:
        """Whether a model is a mixture of experts.

        Most quantizers do not round them.
        """
        return any(location.experts for location in self.locations.values())

    @property
    def models(self) -> Locations:
        """The models of all arms, for workers on this machine."""
        return Locations(self.locations.values())

    def only(self, variants: list[Variant]) -> "Prepared":
        """The same audit with fewer variants."""
        return replace(self, variants=variants)

    def unavailable(self, variant: Variant) -> Message | None:
        """Why a variant cannot be measured here, or None."""
        if reason := inapplicable(variant.attack.name, self.audited or self.locations):
            return reason
        if self.plan.kind.name not in ATTACKS.metadata(variant.attack.name).kinds:
            return message("models_are_not_there")
        if variant.left_out:
            return message("left_out_of_plan")
        if variant.left_out_for is not None:
            return variant.left_out_for
        if variant.attack.requires.images and "pictures" not in self.auxiliary:
            return message("pictures_not_given")
        for arm, location in self.locations.items():
            if reason := variant.attack.unavailable(location):
                several = len(self.locations) > 1
                return message("on_arm", arm=arm, reason=reason) if several else reason
        return None

    def searches(self, variant: Variant) -> dict[str, list[Job]]:
        """Return the search jobs of each arm, one per seed.

        Variants that search alike get the same jobs.
        """
        parameters = variant.attack.search_parameters()
        return {
            arm: [
                self._job(variant, "search", arm, seed, parameters) for seed in self._seeds(variant)
            ]
            for arm in self.arms
        }

    def measurements(
        self, variant: Variant, searches: Mapping[str, Sequence[Job]] | None = None
    ) -> dict[str, list[Job]]:
        """Return the measuring jobs of each arm, one per seed.

        Each has what all arms that are asked the same facts found with that seed.

        Args:
            variant: what is measured.
            searches: arm to its finished searches, in the order of the seeds.
        """
        parameters = variant.attack.parameters.model_dump(mode="json")
        found = dict(searches or {})

        def pool(measured: Arm, index: int) -> tuple[Pooled, ...]:
            return tuple(
                Pooled(arm=Arm(arm).model, key=jobs[index].key, own=arm == measured)
                for arm, jobs in found.items()
                if Arm(arm).world == measured.world
            )

        return {
            arm: [
                self._job(variant, "measure", arm, seed, parameters, pool(arm, index))
                for index, seed in enumerate(self._seeds(variant))
            ]
            for arm in self.arms
        }

    def _seeds(self, variant: Variant) -> tuple[int, ...]:
        return self.plan.attack_seeds if variant.attack.seeded else (0,)

    def _job(
        self,
        variant: Variant,
        stage: Stage,
        arm: Arm,
        seed: int,
        parameters: dict[str, Any],
        pool: tuple[Pooled, ...] = (),
    ) -> Job:
        attack: AnyAttack = variant.attack
        asked, spec = self.asked.get(arm.model), self.plan.arms[arm.model]
        return Job(
            stage=stage,
            attack=attack.name,
            parameters=parameters,
            inputs=dict(attack.inputs()),
            seed=seed,
            spec=spec,
            model=self.locations[arm.model].manifest.digest,
            facts=self.others[arm.world] if arm.world else self.facts,
            metrics=self.plan.metrics.all,
            format=self.plan.format,
            prompts=None if asked is None else asked.digest,
            token_budget=self.plan.token_budget,
            code=measuring_code(attack.name, self.plan.metrics.all, self.plan.kind, spec),
            pool=pool,
            auxiliary=self.auxiliary,
            donor=self._donor if attack.requires.donor else None,
            engine=self.engine,
        )

    @property
    def _donor(self) -> Donor:
        location = self.locations[Arm.ORIGINAL]
        return Donor(spec=self.plan.original, model=location.manifest.digest)


def prepare(plan: AuditPlan, store: EvidenceStore, progress: Progress) -> Prepared:
    """Read the facts, hash the models, expand the attacks.

    Raises:
        AuditorError: anything in the plan cannot be used; says what and how to mend it.
    """
    check_expired(plan.policy, datetime.now(UTC).date())
    sets, notes = read_sets(plan.data)
    if found := problems_of_sets(plan, sets):
        raise AuditorError("\n".join(found))
    plan = explicit(plan)
    engine = _engine(plan)
    variants = _expanded(plan, sets, experts=False)
    auxiliary = plan.kind.auxiliary_inputs(plan, sets)
    locations = _located(plan, progress)
    if any(location.experts for location in locations.values()):
        variants = _expanded(plan, sets, experts=True)
    built = provenances(locations)
    asked = _asked(plan, locations, sets, progress)
    if plan.kind.weighed:
        _check_circles(locations, progress)
    variants = [
        v if inapplicable(v.attack.name, locations) is None else replace(v, role=Role.REPORTED)
        for v in variants
    ]
    planned = [PlannedAttack.from_variant(variant) for variant in variants]
    warnings = [
        *plan_warnings(plan, planned, sets, locations),
        *unchecked(built, sets.forget),
        *asked_otherwise(built, plan.format),
        *notes,
        *asking_warnings(asked),
    ]
    facts = store.put_facts(sets)
    read = facts_as_read(plan.original, locations[Arm.ORIGINAL], sets, plan.format)
    others = {world: store.put_facts(known) for world, known in _worlds(plan, sets).items()}
    return Prepared(
        plan=plan,
        locations=locations,
        sets=sets,
        facts=facts,
        variants=variants,
        warnings=warnings,
        auxiliary=auxiliary,
        asked=asked,
        read=None if read is None else store.put_facts(read),
        others=others,
        built=built,
        engine=engine,
    )


def _engine(plan: AuditPlan) -> AskedEngine | None:
    """Return the plan's engine with its versions on this machine.

    Raises:
        AuditorError: It is not there.
    """
    if plan.generation is None:
        return None
    versions = engine_versions(plan.generation)
    code = writing_code(plan.kind, plan.generation.engine)
    return AskedEngine(settings=plan.generation, versions=versions, code=code)


def _expanded(plan: AuditPlan, sets: FactSets, *, experts: bool) -> list[Variant]:
    """Return the checked variants of a plan.

    Raises:
        AuditorError: Some cannot be run; says why.
    """
    variants = expand(plan, entities=names_entities(sets.forget), experts=experts)
    _check_files(variants)
    _check_exposure(variants, sets)
    return variants


def _worlds(plan: AuditPlan, sets: FactSets) -> dict[World, FactSets]:
    """Return the facts that are asked in the forget set's place.

    Raises:
        AuditorError: The sets do not allow it.
    """
    try:
        return null_facts.worlds(sets, plan.used_baseline)
    except ValueError as error:
        raise AuditorError(f"`baseline: {plan.used_baseline}`: {error}.") from error


def _located(plan: AuditPlan, progress: Progress) -> dict[str, Location]:
    """Arm to the files of its model, hashed and checked.

    Raises:
        AuditorError: Models cannot be used; all are named.
    """
    locations = {}
    faults = []
    with progress.task(
        "hashing the models, so that the certificate can name them", len(plan.arms)
    ) as advance:
        for arm, spec in plan.arms.items():
            try:
                locations[arm] = locate(spec)
                check_unopenable(spec, locations[arm], plan.format)
                if plan.kind.holds_experts(spec, locations[arm]):
                    locations[arm] = locations[arm].model_copy(update={"experts": True})
                if plan.kind.writes_traces(spec, locations[arm], plan.format):
                    locations[arm] = locations[arm].model_copy(update={"traces": True})
            except AuditorError as error:
                faults.append(f"{arm}: {error}")
            advance(1, arm)
    if faults:
        raise AuditorError("\n".join(faults))
    return locations


def _asked(
    plan: AuditPlan, locations: Mapping[str, Location], sets: FactSets, progress: Progress
) -> dict[str, AskedFacts]:
    """Return the token ids that each arm is asked in.

    Arms with equal files are asked alike.

    Raises:
        AuditorError: Facts cannot be asked; all arms and facts are named.
    """
    alike: dict[str, list[str]] = {}
    for arm, spec in plan.arms.items():
        asking = plan.kind.asking(spec, locations[arm])
        if asking is not None:
            alike.setdefault(asking, []).append(arm)
    generates = any(METRICS.get(name).generates for name in plan.metrics.all)
    found: dict[str, AskedFacts] = {}
    faults: list[str] = []
    with progress.task("turning the facts into tokens", len(alike)) as advance:
        for arms in alike.values():
            spec, location = plan.arms[arms[0]], locations[arms[0]]
            try:
                asked = asked_facts(spec, location, sets, plan.format, generates=generates)
            except AuditorError as error:
                faults.append(f"{', '.join(arms)}: {error}")
            else:
                found |= dict.fromkeys(arms, asked)
            advance(1, arms[0])
    if faults:
        raise AuditorError("\n".join(faults))
    return {arm: found[arm] for arm in plan.arms if arm in found}


def _check_circles(locations: dict[str, Location], progress: Progress) -> None:
    """Refuse a retrained model that is another arm of the audit.

    It would be its own baseline. Equal digests say so at once; the same weights saved again, with
    noise or rounded, are found in the weights.

    Raises:
        AuditorError: Names the two, and how alike they are.
    """
    # mistakes in a plan are told without torch
    from auditor.engine.copies import copy_of, made_from

    retrained = [arm for arm in locations if Arm(arm).is_retrained]
    others = [Arm.UNLEARNED, Arm.ORIGINAL, *retrained]
    pairs = [
        (other, arm)
        for place, other in enumerate(others)
        for arm in retrained
        if arm not in others[: place + 1]
    ]
    with progress.task("comparing the weights of the models", len(pairs)) as advance:
        for other, arm in pairs:
            one, two = locations[other], locations[arm]
            if one.manifest.weights_digest == two.manifest.weights_digest:
                raise AuditorError(
                    f"{other} and {arm} are the same weights; a model cannot be its own baseline. "
                    "Give another retrained model."
                )
            found = copy_of(one, two)
            if found is not None:
                raise AuditorError(
                    f"{other} and {arm} are one model, saved again: none of {found.matrices} "
                    f"matrices differs by more than {found.largest:.2g} of its size, where "
                    f"training moves one by {LEAST_CHANGE:g} at least. A model cannot be its own "
                    "baseline; give another retrained model."
                )
            if other == Arm.UNLEARNED and Arm.ORIGINAL in locations:
                origin = made_from(one, locations[Arm.ORIGINAL], two)
                if origin is not None:
                    raise AuditorError(
                        f"{arm} was made from {other}: in all of {origin.matrices} matrices it "
                        f"holds {origin.slope:.1%} of the way that unlearning moved them from the "
                        "original, and noise or rounding besides. A model cannot be its own "
                        "baseline; give one that was trained without the forget set."
                    )
            advance(1, f"{other}, {arm}")


def _check_files(variants: list[Variant]) -> None:
    """Refuse missing and endless files of attacks.

    Raises:
        AuditorError: It names all of them.
    """
    faults = [
        fault
        for variant in variants
        for fault in missing(variant.attack.parameters, variant.label, Path())
    ]
    if faults:
        raise AuditorError("\n".join(faults))


def _check_exposure(variants: list[Variant], sets: FactSets) -> None:
    for variant in variants:
        held = checks.forget_text_within(sets, variant.attack.texts())
        if held:
            raise AuditorError(
                f"the texts that {variant.label} shows the model hold {len(held)} forget fact(s): "
                f"{', '.join(held[:5])}{' …' if held[5:] else ''}. A model that was shown the "
                "forget set says something else; give the attack other text."
            )
