"""Expansion of a plan to attacks at their levels.

They come from a profile, the plan and the policy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from auditor.attack import ATTACKS, PROFILES, AnyAttack, AttackMetadata, Preset, stand_in
from auditor.core.aliases import attack_parameters
from auditor.core.attack_id import AttackId
from auditor.core.errors import AuditorError
from auditor.core.messages import Message
from auditor.core.roles import Role
from auditor.core.validation import problems
from auditor.engine.plan import AuditPlan, swept
from auditor.models.kind import KINDS, kind_named
from auditor.models.manifest import Location
from auditor.policy import (
    AS_IS,
    Policy,
    demands,
    deployed,
    deployed_levels,
    renamed,
    waived,
)


@dataclass(frozen=True)
class Variant:
    """One attack at one level.

    The plan runs it or leaves it out.
    """

    attack: AnyAttack
    role: Role
    left_out: bool = False
    """Whether the policy demands it and the plan does not run it, which blocks PASS."""
    left_out_for: Message | None = None
    """Why the audit does not run it though the plan does, which blocks PASS where it is mandatory;
    None where it does."""

    @property
    def id(self) -> AttackId:
        """The attack and its level."""
        return self.attack.id

    @property
    def label(self) -> str:
        """``family/name variant``."""
        return self.id.label


def expand(plan: AuditPlan, *, entities: bool = True, experts: bool = False) -> list[Variant]:
    """Return all variants of a plan.

    The mandatory ones that it leaves out are included.

    Args:
        plan: The plan.
        entities: Whether any entity has several forget facts; levels that need it are replaced
            otherwise.
        experts: Whether a model is a mixture of experts; levels that do not round them are
            replaced then.

    Raises:
        AuditorError: an attack is unknown, its parameters are wrong, two variants have the same
            name, or the policy demands something that no installed attack provides.
    """
    kind = _only_kind(plan)
    planned: dict[str, AnyAttack] = {}
    replaced = replaced_levels(entities=entities, experts=experts)
    defaults = _levels(kind, replaced)
    policy = suited(explicit(plan).policy, entities=entities, experts=experts)
    rank = PROFILES.index(plan.profile) if plan.profile else -1
    asked = {f"{AS_IS} {preset.name}" for preset in ATTACKS.metadata(AS_IS).presets}
    asked |= set(deployed_levels(plan.deploy))
    for described, preset in presets_on(kind):
        label = AttackId(described.name, preset.name).label
        if PROFILES.index(preset.profile) <= rank or label in asked:
            attack = from_preset(*_suited_level(described, preset, replaced))
            planned[attack.id.label] = attack
    planned |= _requested(plan, kind)  # the plan's own settings replace those of a preset
    wanted = _mandatory(policy, planned, defaults)
    lifted = waived(policy, wanted)

    def role(label: str, attack: AnyAttack) -> Role:
        return Role.WAIVED if label in lifted else attack.role(mandatory=label in wanted)

    chosen = [Variant(attack, role(label, attack)) for label, attack in planned.items()]
    chosen.sort(key=lambda v: (v.attack.name != AS_IS, v.role is not Role.MANDATORY))
    chosen += [
        Variant(attack, role(label, attack), left_out=True)
        for label, attack in wanted.items()
        if label not in planned
    ]
    return chosen


def _requested(plan: AuditPlan, kind: str) -> dict[str, AnyAttack]:
    """Return the attacks that the plan adds, by label.

    It adds them to those of its profile.

    Raises:
        AuditorError: Some cannot be run as asked; all are named.
    """
    asked: dict[str, AnyAttack] = {}
    faults: list[str] = []
    for request in plan.attacks:
        kinds = ATTACKS.metadata(request.attack).kinds
        if kind not in kinds:
            faults.append(
                f"{request.attack} attacks {', '.join(kinds)} models, "
                f"and these are {kind}; take it out of `attacks:`."
            )
            continue
        for parameters in swept(ATTACKS.get(request.attack).parameters_type, request.parameters):
            try:
                attack = instantiate(request.attack, parameters)
            except AuditorError as error:
                faults.append(str(error))
                continue
            label = attack.id.label
            if label in asked:
                faults.append(f"the plan asks for {label} twice; which settings are meant?")
            asked[label] = attack
    if faults:
        raise AuditorError("\n".join(dict.fromkeys(faults)))
    return asked


def _only_kind(plan: AuditPlan) -> str:
    """The one kind of the models; several are refused."""
    kinds = sorted({spec.kind for spec in plan.arms.values()})
    if len(kinds) > 1:
        raise AuditorError(f"the models are of different kinds: {', '.join(kinds)}.")
    return kinds[0]


def presets_on(kind: str) -> Iterator[tuple[AttackMetadata, Preset]]:
    """Yield the presets of all attacks on a kind of model.

    They are in the order of the attacks' names.

    Raises:
        AuditorError: a plug-in does not load, so nobody can tell whether its attacks are wanted.
    """
    ATTACKS.check_complete()
    for name in ATTACKS.names():
        described = ATTACKS.metadata(name)
        if kind in described.kinds:
            yield from ((described, preset) for preset in described.presets)


def from_preset(name: str, preset: Preset) -> AnyAttack:
    """An attack with the parameters of one of its presets.

    Raises:
        AuditorError: the plug-in does not load, or its preset has another name than its variant.
    """
    attack = instantiate(name, dict(preset.parameters))
    if attack.variant != preset.name:
        raise AuditorError(
            f"{name} calls its preset {preset.name!r}, and its variant with these parameters "
            f"{attack.variant!r}; give both the same name."
        )
    return attack


def inapplicable(attack: str, locations: Mapping[str, Location]) -> Message | None:
    """Return why an attack asks nothing new of these models, or None.

    It counts towards no verdict then.

    Args:
        attack: its name.
        locations: the models' files by arm.
    """
    files = {arm: location.manifest.files for arm, location in locations.items()}
    experts = any(location.experts for location in locations.values())
    traces = any(location.traces for location in locations.values())
    return ATTACKS.metadata(attack).inapplicable(files, experts=experts, traces=traces)


def explicit(plan: AuditPlan) -> AuditPlan:
    """Return the plan with its policy's mandatory attacks by name.

    Those of its deployments are among them. So its digest covers them.
    """
    named = plan.policy
    if named.mandatory is None:
        levels = default_levels(plan.kind.name)
        named = named.model_copy(update={"mandatory": tuple(levels)})
    return plan.model_copy(update={"policy": deployed(named, plan.deploy)})


def _suited_level(
    described: AttackMetadata, preset: Preset, replaced: Mapping[str, str]
) -> tuple[str, Preset]:
    """An attack's name and preset, or those in their place."""
    instead = replaced.get(AttackId(described.name, preset.name).label)
    if instead is None:
        return described.name, preset
    other = AttackId.parse(instead)
    presets = ATTACKS.metadata(other.name).presets
    return other.name, next(p for p in presets if p.name == other.variant)


def replaced_levels(*, entities: bool, experts: bool) -> dict[str, str]:
    """Return the levels that are replaced, as their presets say.

    Args:
        entities: Whether any entity has several forget facts.
        experts: Whether a model is a mixture of experts.

    Returns:
        Label of a level to the label of that which takes its place.
    """
    found: dict[str, str] = {}
    for name in ATTACKS.names() if experts or not entities else ():
        for preset in ATTACKS.metadata(name).presets:
            label = AttackId(name, preset.name).label
            if preset.without_entities is not None and not entities:
                found[label] = AttackId(name, preset.without_entities).label
            if preset.with_experts is not None and experts:
                found[label] = preset.with_experts
    return found


def suited(policy: Policy, *, entities: bool, experts: bool) -> Policy:
    """Return a policy with demands that facts and models allow.

    Args:
        policy: The policy; its digest is that of this one, whatever it is made to demand.
        entities: Whether any entity has several forget facts.
        experts: Whether a model is a mixture of experts.
    """
    replaced = replaced_levels(entities=entities, experts=experts)
    return renamed(policy, replaced) if replaced else policy


def default_levels(
    kind: str, replaced: Mapping[str, str] = MappingProxyType({})
) -> dict[str, AnyAttack]:
    """Return the attacks that are mandatory by default, by label.

    They are those for a kind of model unless a policy says otherwise.

    Args:
        kind: Name of the kind of model.
        replaced: Levels that others take the place of (`replaced_levels`).

    Raises:
        AuditorError: nothing here measures models of that kind.
    """
    attacks = [
        _at_level(*_suited_level(described, preset, replaced), kind)
        for described, preset in _mandatory_presets(kind)
    ]
    return {attack.id.label: attack for attack in attacks}


def _levels(kind: str, replaced: Mapping[str, str]) -> dict[str, AnyAttack]:
    """Return the attacks that a policy may demand, by label.

    No plan need run them.

    For models that cannot be attacked they are all those of the kind for which these stand.
    """
    standing = _attacked_as(kind)
    if standing == kind:
        return default_levels(kind, replaced)
    attacks = [_at_level(d.name, preset, kind) for d, preset in presets_on(standing)]
    return {attack.id.label: attack for attack in attacks}


def _attacked_as(kind: str) -> str:
    """Return the kind whose attacks a policy means."""
    return (kind_named(kind).stands_for if kind in KINDS.names() else None) or kind


def _at_level(name: str, preset: Preset, kind: str) -> AnyAttack:
    """Return an attack at a level, or its stand-in.

    It has one where it cannot be run on such models.
    """
    described = ATTACKS.metadata(name)
    if kind in described.kinds:
        return from_preset(described.name, preset)
    return stand_in(described, preset, ATTACKS.parameters_type(described.name))


def default_parameters(
    kind: str, replaced: Mapping[str, str] = MappingProxyType({})
) -> dict[str, dict[str, Any]]:
    """Return the parameters of `default_levels` as plain data; no attack is imported.

    Args:
        kind: Name of the kind of model.
        replaced: Levels that others take the place of (`replaced_levels`).

    Raises:
        AuditorError: nothing here measures models of that kind.
    """
    presets = (
        _suited_level(described, preset, replaced) for described, preset in _mandatory_presets(kind)
    )
    return {
        AttackId(name, preset.name).label: plain_parameters(name, preset.parameters)
        for name, preset in presets
    }


def plain_parameters(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of an attack as plain data, its defaults included."""
    given = ATTACKS.parameters_type(name)(**attack_parameters(name, parameters))
    return given.model_dump(mode="json")


def default_labels(kind: str) -> tuple[str, ...]:
    """The labels of `default_levels`, for which no attack is imported.

    Raises:
        AuditorError: nothing here measures models of that kind.
    """
    return tuple(
        AttackId(described.name, preset.name).label
        for described, preset in _mandatory_presets(kind)
    )


def _mandatory_presets(kind: str) -> list[tuple[AttackMetadata, Preset]]:
    if kind not in ATTACKS.metadata(AS_IS).kinds:
        raise AuditorError(f"no installed attack measures models of the kind {kind!r}.")
    presets = presets_on(_attacked_as(kind))
    return [(described, preset) for described, preset in presets if preset.mandatory]


def instantiate(name: str, parameters: dict[str, Any]) -> AnyAttack:
    """An attack with validated parameters, which may have former names.

    Raises:
        AuditorError: the attack is unknown or a parameter does not fit.
    """
    cls = ATTACKS.get(name)
    try:
        return cls(cls.parameters_type(**attack_parameters(name, parameters)))
    except ValidationError as error:
        lines = "\n  ".join(problems(error, model=cls.parameters_type))
        raise AuditorError(
            f"parameters of {name} do not fit:\n  {lines}\n"
            f"`auditor attacks show {name}` lists them."
        ) from error


def _mandatory(
    policy: Policy,
    planned: dict[str, AnyAttack],
    defaults: dict[str, AnyAttack],
) -> dict[str, AnyAttack]:
    known = defaults | planned
    wanted: dict[str, AnyAttack] = {}
    for demand in demands(policy, known, ()):
        if not demand.labels:
            raise AuditorError(
                f"the policy makes {demand.name!r} mandatory, but the plan does not run it; add it "
                f"to `attacks:`, or name one of: {', '.join(known)}."
            )
        if silent := [label for label in demand.labels if not known[label].decides]:
            raise AuditorError(
                f"the policy makes {demand.name!r} mandatory, but {', '.join(silent)} is only "
                "reported: its measure is not of knowledge that comes out. Take it off the list."
            )
        wanted |= {label: known[label] for label in demand.labels}
    return wanted
