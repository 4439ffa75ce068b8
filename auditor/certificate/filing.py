"""From what the engine gathered to the case that is decided."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from auditor.certificate.case import Case, Trial
from auditor.engine.audit import AuditOutcome, VariantOutcome
from auditor.policy import Policy, shortfall
from auditor.statistics import Control


def case_of(outcome: AuditOutcome, planted: Mapping[str, Control] = MappingProxyType({})) -> Case:
    """The case of an audit.

    Args:
        outcome: what the engine gathered.
        planted: label of a mandatory attack to what it made of the suppression planted for it.
    """
    prepared = outcome.prepared
    plan, sets = prepared.plan, prepared.sets
    return Case(
        policy=plan.policy,
        arms=tuple(prepared.locations),
        sets={"forget": sets.forget, "retain": sets.retain, "holdout": sets.holdout},
        metrics=plan.metrics.all,
        trials=tuple(_trial(v, plan.policy, plan.metrics.primary) for v in outcome.variants),
        table=outcome.table,
        planted=planted,
    )


def _trial(outcome: VariantOutcome, policy: Policy, primary: str) -> Trial:
    variant, attack = outcome.variant, outcome.variant.attack
    trial = Trial(
        attack=attack.name,
        variant=attack.variant,
        mandatory=variant.mandatory,
        waived=variant.waived,
        reported=not attack.decides,
        metric=attack.metric or primary,
        status=outcome.status,
        reason=outcome.reason,
        jobs=outcome.jobs,
    )
    if not variant.mandatory:
        return trial
    lacking = shortfall(policy, variant.label, attack.parameters.model_dump(mode="json"))
    return replace(trial, shortfall=lacking)
