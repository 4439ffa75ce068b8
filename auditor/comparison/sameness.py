"""Aspects that two certificates share, and those in which they differ."""

from collections.abc import Sequence

from auditor.certificate.schema import ArmPart, Certificate
from auditor.comparison.schema import Aspect, ModelChange, Obstacle, ValueChange
from auditor.core.arms import Arm
from auditor.core.facts import SetName
from auditor.core.messages import Message, message

_FIGURES = (
    "name",
    "delta",
    "alpha",
    "minimum_gap",
    "leak_limit",
    "leaked_facts",
    "deciding_metrics",
    "utility_margin",
    "minimum_facts",
    "minimum_retrained",
    "minimum_baseline",
    "valid_days",
)


def retrained_digests(certificate: Certificate) -> list[str]:
    """Return the digests of the retrained models, sorted.

    So their order changes nothing.
    """
    return sorted(arm.digest for arm in certificate.identity.arms if Arm(arm.arm).is_retrained)


def original_digest(certificate: Certificate) -> str | None:
    """Digest of the original model; None where the certificate has none."""
    return _digest(certificate.identity.arms, Arm.ORIGINAL)


def forget_digest(certificate: Certificate) -> str:
    """Return the digest of the forget set.

    Earlier certificates have one digest of all three sets, which stands for it.
    """
    identity = certificate.identity
    return (identity.set_digests or {}).get("forget", identity.facts_digest)


def obstacles(a: Certificate, b: Certificate) -> tuple[Obstacle, ...]:
    """Return the aspects that make figures of two certificates incomparable."""
    found: list[tuple[bool, Aspect, Message]] = [
        (_other_set(a, b, "forget"), "forget set", message("other_facts")),
        (
            a.scope.primary_metric != b.scope.primary_metric,
            "primary metric",
            message("other_metric", a=a.scope.primary_metric, b=b.scope.primary_metric),
        ),
        (
            a.identity.auxiliary_inputs != b.identity.auxiliary_inputs,
            "auxiliary inputs",
            message("other_auxiliary_inputs"),
        ),
        (original_digest(a) != original_digest(b), "original model", message("other_original")),
        (
            a.verdict.baseline != b.verdict.baseline,
            "baseline",
            message("other_baseline", a=a.verdict.baseline.value, b=b.verdict.baseline.value),
        ),
    ]
    return _those(found)


def differences(a: Certificate, b: Certificate) -> tuple[Obstacle, ...]:
    """Return the aspects that differ and leave figures comparable."""
    found: list[tuple[bool, Aspect, Message]] = [
        (_other_set(a, b, "retain"), "retain set", message("other_retain")),
        (_other_set(a, b, "holdout"), "holdout set", message("other_holdout")),
        (
            retrained_digests(a) != retrained_digests(b),
            "retrained models",
            message("other_retrained"),
        ),
        (
            a.scope.scope != b.scope.scope,
            "scope",
            message("other_scope", a=a.scope.scope, b=b.scope.scope),
        ),
        (
            a.identity.policy_digest != b.identity.policy_digest or bool(policy_changes(a, b)),
            "policy",
            message("other_policy"),
        ),
    ]
    return _those(found)


def _those(found: Sequence[tuple[bool, Aspect, Message]]) -> tuple[Obstacle, ...]:
    return tuple(Obstacle(about=about, message=said) for differs, about, said in found if differs)


def _other_set(a: Certificate, b: Certificate, name: SetName) -> bool:
    """Whether two audits are known to have other facts in a set.

    Where a certificate has one digest of all sets, it speaks of the forget set alone.
    """
    if a.identity.facts_digest == b.identity.facts_digest:
        return False
    one, other = a.identity.set_digests, b.identity.set_digests
    if one is None or other is None:
        return name == "forget"
    return one.get(name) != other.get(name)


def policy_changes(a: Certificate, b: Certificate) -> tuple[ValueChange, ...]:
    """Numbers and demands that the policies do not share."""
    changes = value_changes(
        {name: getattr(a.policy, name) for name in _FIGURES},
        {name: getattr(b.policy, name) for name in _FIGURES},
    )
    lists = {
        "mandatory": (sorted(a.policy.mandatory), sorted(b.policy.mandatory)),
        "waivers": tuple(
            sorted((w.model_dump(mode="json") for w in c.policy.waivers), key=repr) for c in (a, b)
        ),
    }
    return (
        *changes,
        *(
            ValueChange(name=name, a=before, b=after)
            for name, (before, after) in lists.items()
            if before != after
        ),
        *value_changes(
            {f"budget of {label}": least for label, least in a.policy.budgets.items()},
            {f"budget of {label}": least for label, least in b.policy.budgets.items()},
        ),
    )


def value_changes(a: dict[str, object], b: dict[str, object]) -> tuple[ValueChange, ...]:
    """Return the entries that differ between two mappings.

    An entry that is absent is null.
    """
    return tuple(
        ValueChange(name=name, a=a.get(name), b=b.get(name))
        for name in dict.fromkeys((*a, *b))
        if a.get(name) != b.get(name)
    )


def model_changes(a: Certificate, b: Certificate) -> tuple[ModelChange, ...]:
    """Every model of either audit, by its part in it."""
    before = {arm.arm: arm for arm in a.identity.arms}
    after = {arm.arm: arm for arm in b.identity.arms}

    def change(name: str) -> ModelChange:
        one, other = before.get(name), after.get(name)
        return ModelChange(
            arm=name,
            path_a=one.name if one else None,
            path_b=other.name if other else None,
            digest_a=one.digest if one else None,
            digest_b=other.digest if other else None,
            same=one is not None and other is not None and one.digest == other.digest,
        )

    return tuple(change(name) for name in dict.fromkeys((*before, *after)))


def _digest(arms: Sequence[ArmPart], name: str) -> str | None:
    return next((arm.digest for arm in arms if arm.arm == name), None)
