"""Warnings of a plan on what may weaken the audit.

They are found before any model is loaded.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.attack import ATTACKS
from auditor.core.aliases import attack_label
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.facts import FactSets
from auditor.core.messages import Message, message
from auditor.core.roles import Role
from auditor.data import checks
from auditor.data.folds import folds, names_entities
from auditor.engine.expansion import (
    Variant,
    default_parameters,
    explicit,
    inapplicable,
    replaced_levels,
    suited,
)
from auditor.engine.plan import AuditPlan
from auditor.models.kind import ModelKind
from auditor.models.manifest import Location
from auditor.policy import Policy, shortfall, unmet

_STRICTER: dict[str, Callable[[float, float], bool]] = {
    "delta": operator.lt,
    "alpha": operator.lt,
    "leak_limit": operator.lt,
    "utility_margin": operator.lt,
    "minimum_gap": operator.gt,
}
"""For each number of a policy, a function that tells whether the first of two values asks more."""
_SHOWN = 5
"""Most files that a warning names."""


@dataclass(frozen=True)
class PlannedAttack:
    """An attack at one level, as far as warnings are about it.

    Attributes:
        label: ``family/name variant``.
        role: its role in the verdict.
        parameters: its parameters as plain data.
    """

    label: str
    role: Role
    parameters: Mapping[str, Any]

    @classmethod
    def from_variant(cls, variant: Variant) -> "PlannedAttack":
        """Describe a variant of a plan."""
        return cls(variant.label, variant.role, variant.attack.parameters.model_dump(mode="json"))


def plan_warnings(
    plan: AuditPlan,
    variants: Sequence[PlannedAttack],
    sets: FactSets,
    locations: Mapping[str, Location],
) -> list[Message]:
    """Return all warnings of a plan whose inputs were found."""
    return [
        *checks.warnings(sets, prompts_repeat=plan.kind.prompts_repeat),
        *_arm_warnings(locations, plan.kind),
        *_precision_warnings(plan),
        *_weakened(plan, variants, sets, locations),
        *_unmet(plan, variants, sets, locations),
        *_replaced(plan, sets, locations),
        *_unread_traces(variants, locations),
        *_undivided(variants, sets),
    ]


def _arm_warnings(locations: Mapping[str, Location], kind: ModelKind) -> list[Message]:
    found = []
    unlearned, original = (locations[arm].manifest for arm in (Arm.UNLEARNED, Arm.ORIGINAL))
    if not kind.weighed:
        found.append(message("logs_stand_for_models"))
        if sorted(unlearned.files.values()) == sorted(original.files.values()):
            found.append(message("same_log_as_original"))
    elif unlearned.weights_digest == original.weights_digest:
        found.append(message("same_weights_as_original"))
    for arm, location in locations.items():
        found += kind.differences(arm, location, locations[Arm.ORIGINAL])
        if weights := location.weights_beside:
            found.append(
                message(
                    "weights_not_audited", arm=arm, files=list(weights[:_SHOWN]), count=len(weights)
                )
            )
        found += [message("note_on_files", arm=arm, note=note) for note in location.notes]
    return found


def _precision_warnings(plan: AuditPlan) -> list[Message]:
    dtypes = {arm: spec.dtype for arm, spec in plan.arms.items()}
    if len(set(dtypes.values())) == 1:
        return []
    return [message("precision_differs", dtypes=dtypes)]


def _weakened(
    plan: AuditPlan,
    variants: Sequence[PlannedAttack],
    sets: FactSets,
    locations: Mapping[str, Location],
) -> list[Message]:
    """Return how the plan asks for less than the default."""
    found = []
    for name, stricter in _STRICTER.items():
        value = getattr(plan.policy, name)
        default = Policy.model_fields[name].default
        if stricter(default, value):
            found.append(message("policy_asks_less", setting=name, value=value, default=default))
    if idle := [m for m in plan.kind.default_deciding if m not in plan.metrics.decides]:
        found.append(message("metrics_do_not_decide", metrics=idle))
    usual = default_parameters(plan.kind.name, _replacements(sets, locations))
    mandatory = {v.label for v in variants if v.role in (Role.MANDATORY, Role.WAIVED)}
    dropped = [
        label
        for label in usual
        if label not in mandatory and inapplicable(AttackId.parse(label).name, locations) is None
    ]
    if dropped:
        found.append(message("policy_does_not_demand", attacks=dropped))
    for variant in variants:
        usual_values, values = usual.get(variant.label), variant.parameters
        if usual_values is None or usual_values == values:
            continue
        changed = [
            {"parameter": name, "value": values.get(name), "default": default}
            for name, default in usual_values.items()
            if values.get(name) != default
        ]
        found.append(message("preset_changed", attack=variant.label, changed=changed))
    return found


def _unmet(
    plan: AuditPlan,
    variants: Sequence[PlannedAttack],
    sets: FactSets,
    locations: Mapping[str, Location],
) -> list[Message]:
    """Return what keeps this plan from a PASS in any case.

    It does so whatever the models know.
    """
    policy = suited(
        plan.policy, entities=names_entities(sets.forget), experts=_with_experts(locations)
    )
    short = [
        shortfall(policy, attack.label, attack.parameters)
        for attack in variants
        if attack.role is Role.MANDATORY
    ]
    lacking = [said for said in short if said is not None]
    found = unmet(
        plan.policy,
        sets.forget,
        len(plan.retrained),
        plan.metrics.decides,
        baseline=plan.used_baseline,
        from_logs=not plan.kind.weighed,
    )
    return [*found, *lacking]


def _replaced(
    plan: AuditPlan, sets: FactSets, locations: Mapping[str, Location]
) -> Iterator[Message]:
    """Yield which demands others take the place of."""
    demanded = explicit(plan).policy.mandatory or ()
    by_facts = replaced_levels(entities=names_entities(sets.forget), experts=False)
    by_models = replaced_levels(entities=True, experts=_with_experts(locations))
    for label in dict.fromkeys(map(attack_label, demanded)):
        if label in by_facts:
            yield message("level_without_entities", demanded=label, instead=by_facts[label])
        if label in by_models:
            yield message("level_with_experts", demanded=label, instead=by_models[label])


def _unread_traces(
    variants: Sequence[PlannedAttack], locations: Mapping[str, Location]
) -> Iterator[Message]:
    """Yield that no attack of the plan reads the traces."""
    read = any(
        name in ATTACKS.names() and ATTACKS.metadata(name).requires.traces
        for name in {AttackId.parse(variant.label).name for variant in variants}
    )
    arms = [arm for arm, location in locations.items() if location.traces]
    if arms and not read:
        yield message("traces_unread")


def _replacements(sets: FactSets, locations: Mapping[str, Location]) -> dict[str, str]:
    """Return the levels that others take the place of."""
    return replaced_levels(entities=names_entities(sets.forget), experts=_with_experts(locations))


def _with_experts(locations: Mapping[str, Location]) -> bool:
    """Return whether a model is a mixture of experts."""
    return any(location.experts for location in locations.values())


def _undivided(variants: Sequence[PlannedAttack], sets: FactSets) -> Iterator[Message]:
    """Yield which attacks cannot divide the forget facts as they would."""
    for variant in variants:
        by = variant.parameters.get("split")
        if by is None or variant.parameters.get("scope") == "per-entity":
            continue
        try:
            folds(sets.forget, by, variant.parameters.get("folds", 2))
        except ValueError:
            yield message("forget_facts_not_divided", attack=variant.label, split=by)
