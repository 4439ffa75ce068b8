"""What may weaken an audit, found before any model is loaded, and printed in its certificate."""

import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from auditor.core.facts import FactSets
from auditor.data import checks
from auditor.engine.expansion import Variant, default_levels
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
"""For each number of a policy, how to tell that the first of two values asks more."""


def weaknesses(
    plan: AuditPlan,
    variants: Sequence[Variant],
    sets: FactSets,
    locations: Mapping[str, Location],
) -> list[str]:
    """All warnings of a plan whose inputs were found, one sentence each."""
    return [
        *checks.warnings(sets, prompts_repeat=plan.kind.prompts_repeat),
        *_arm_warnings(locations, plan.kind),
        *_precision_warnings(plan),
        *_weakened(plan, variants),
        *_unmet(plan, variants, sets),
    ]


def _arm_warnings(locations: Mapping[str, Location], kind: ModelKind) -> list[str]:
    found = []
    original = locations["original"].manifest.files
    digests = {arm: location.manifest.weights_digest for arm, location in locations.items()}
    if digests["unlearned"] == digests["original"]:
        found.append("the unlearned and the original model have the same weights")
    for arm, location in locations.items():
        differing = [
            name
            for name in sorted(original.keys() | location.manifest.files.keys())
            if any(PurePosixPath(name).match(pattern) for pattern in kind.fixed_files)
            and location.manifest.files.get(name) != original.get(name)
        ]
        if differing:
            found.append(f"{arm} has another {differing[0]} than the original")
        found += [f"{arm}: {note}" for note in location.notes]
    return found


def _precision_warnings(plan: AuditPlan) -> list[str]:
    dtypes = {arm: spec.dtype for arm, spec in plan.arms.items()}
    if len(set(dtypes.values())) == 1:
        return []
    listed = ", ".join(f"{arm} {dtype}" for arm, dtype in dtypes.items())
    return [f"the models are opened at different precision: {listed}"]


def _weakened(plan: AuditPlan, variants: Sequence[Variant]) -> list[str]:
    """How the plan asks for less than it would by default."""
    found = []
    for name, stricter in _STRICTER.items():
        value = getattr(plan.policy, name)
        default = Policy.model_fields[name].default
        if stricter(default, value):
            found.append(
                f"the policy asks less than by default: {name} is {value:g}, not {default:g}"
            )
    usual = default_levels(plan.kind.name)
    mandatory = {v.label for v in variants if v.mandatory or v.waived}
    if dropped := [label for label in usual if label not in mandatory]:
        found.append(
            "the policy does not demand what is mandatory by default: " + ", ".join(dropped)
        )
    for variant in variants:
        level = usual.get(variant.label)
        if level is None or level.parameters == variant.attack.parameters:
            continue
        changed = [
            f"{name} {getattr(variant.attack.parameters, name)} instead of {value}"
            for name, value in level.parameters
            if getattr(variant.attack.parameters, name) != value
        ]
        found.append(f"{variant.label} runs with {', '.join(changed)}")
    return found


def _unmet(plan: AuditPlan, variants: Sequence[Variant], sets: FactSets) -> list[str]:
    """What stands between this plan and a PASS, whatever the models know."""
    short = [
        shortfall(plan.policy, v.label, v.attack.parameters.model_dump(mode="json"))
        for v in variants
        if v.mandatory
    ]
    return [*unmet(plan.policy, len(sets.forget), len(plan.retrained)), *filter(None, short)]
