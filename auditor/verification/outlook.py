"""What a certificate by itself says of a release policy.

`auditor gate` decides under a policy from the evidence. A reader of the certificate has none; but
much that a policy demands can be seen to be missing without any.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.attack import ATTACKS
from auditor.certificate.schema import Certificate, MatrixRow
from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.core.roles import Role, Status
from auditor.engine.expansion import default_labels, suited
from auditor.models.manifest import are_logs
from auditor.policy import (
    Policy,
    assign_roles,
    audited_too_often,
    lacking_metrics,
    load_policy,
    ready_made,
    unmet_numbers,
)
from auditor.verification.load import inapplicable, states_experts

RELEASE = "release-gate"
"""End of the names of the ready-made policies for releases."""


@dataclass(frozen=True)
class Outlook:
    """What stands against a PASS under a policy.

    Attributes:
        policy: name of the policy.
        passes: whether it would pass; None where only the evidence can tell.
        lacking: what is missing; empty unless it would not pass.
    """

    policy: str
    passes: bool | None
    lacking: tuple[Message, ...]


def release_outlook(certificate: Certificate) -> Outlook | None:
    """Return the outlook under the ready-made policy for releases.

    None means that there is none for models of this kind.
    """
    policy = _release_policy(certificate.identity.kind)
    return None if policy is None else outlook(certificate, policy)


def outlook(certificate: Certificate, policy: Policy) -> Outlook:
    """Return what a certificate shows of a policy, without its evidence."""
    lacking = tuple(_lacking(certificate, policy))
    if lacking:
        return Outlook(policy.name, passes=False, lacking=lacking)
    own = policy.has_digest(certificate.identity.policy_digest)
    return Outlook(policy.name, passes=True if own else None, lacking=())


def _release_policy(kind: str) -> Policy | None:
    """Return the release policy for a kind of model."""
    for name in ready_made():
        if name.endswith(RELEASE):
            policy = load_policy(name)
            demanded = {label.partition(" ")[0] for label in policy.mandatory or ()}
            if all(a in ATTACKS.names() and kind in ATTACKS.metadata(a).kinds for a in demanded):
                return policy
    return None


def _lacking(certificate: Certificate, policy: Policy) -> Iterator[Message]:
    scope, verdict = certificate.scope, certificate.verdict
    if verdict.verdict != "PASS":
        yield message("verdict_is_no_pass", verdict=verdict.title)
    forget = scope.sets.get("forget")
    yield from unmet_numbers(
        policy,
        forget.facts if forget else 0,
        certificate.uncertainty.retrained_models,
        baseline=Baseline(verdict.baseline),
        from_logs=any(are_logs(arm.files) for arm in certificate.identity.arms),
    )
    deciding = (scope.primary_metric, *scope.deciding_metrics)
    if lacking := lacking_metrics(policy, (), deciding):
        yield message(
            "deciding_metrics_lacking", policy=policy.name, metrics=lacking, deciding=deciding
        )
    if too_many := audited_too_often(policy, len(certificate.identity.earlier_audits)):
        yield too_many
    yield from _lacking_attacks(certificate, policy)


def _lacking_attacks(certificate: Certificate, policy: Policy) -> Iterator[Message]:
    measured = {row.id: row for row in certificate.matrix if row.status is Status.MEASURED}
    default = () if policy.mandatory is not None else default_labels(certificate.identity.kind)
    forget = certificate.scope.sets.get("forget")
    entities = forget is None or forget.entities < forget.facts
    try:
        assigned, missing = assign_roles(
            suited(policy, entities=entities, experts=states_experts(certificate)),
            {attack: row.parameters for attack, row in measured.items()},
            [attack for attack, row in measured.items() if row.role is Role.REPORTED],
            default,
            inapplicable(certificate, policy, default),
        )
    except AuditorError:  # the policy does not fit these attacks, as `auditor gate` would say
        return
    if missing:
        yield message("attacks_not_run", attacks=_labels(missing))
    ran = [given for attack, given in assigned.items() if attack in measured]
    yield from (given.shortfall for given in ran if given.shortfall is not None)
    mandatory = [a for a, given in assigned.items() if given.role is Role.MANDATORY]
    undecided = [a for a in mandatory if a in measured and not _met(measured[a])]
    if undecided and certificate.verdict.verdict == "PASS":
        yield message("attacks_undecided", attacks=_labels(undecided))


def _met(row: MatrixRow) -> bool:
    return all(gate.met for gate in row.gates)


def _labels(attacks: list[AttackId] | tuple[AttackId, ...]) -> list[str]:
    return [attack.label for attack in attacks]
