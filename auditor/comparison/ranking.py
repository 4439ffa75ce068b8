"""Ranking of certificates, best first.

Only those whose figures are of one measure are ranked together.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from auditor.certificate.parts import Part
from auditor.certificate.schema import Certificate
from auditor.comparison.collection import Collected, Rejected
from auditor.comparison.order import place, utility_state
from auditor.comparison.sameness import forget_digest, original_digest, retrained_digests
from auditor.core.hashing import digest
from auditor.core.roles import Role, Status

_UTILITY = ("kept", "undetermined", "not measured", "lost")
"""States of utility, best first."""


class Entry(Part):
    """A certificate in the leaderboard."""

    rank: int
    """Rank in its group. It is equal where nothing that counts tells two entries apart."""
    paths: tuple[str, ...]
    """Every file that holds the certificate, relative to the folder; the envelope first."""
    certificate_id: str
    claimed_keys: tuple[str, ...] | None
    """Ids of the keys that are said to have signed it; nobody checked. Null: no envelope."""
    model: str | None
    """Path of the unlearned model."""
    verdict: Literal["PASS", "INCONCLUSIVE", "FAIL", "NOT AUDITABLE"]
    flags: tuple[str, ...]
    residual_lower: float | None
    residual_upper: float | None
    """Upper bound of residual knowledge. Null: not bounded below 1, or not every mandatory attack
    was measured."""
    residual_complete: bool
    worst_attack: str | None
    """Label of the attack with the largest rho."""
    worst_rho: float | None
    utility_state: str
    utility_unlearned: float | None
    utility_original: float | None
    named: tuple[str, ...]
    facts: int | None
    retrained_models: int
    issued: str


class Group(Part):
    """Certificates that can be ranked together."""

    facts_digest: str
    original_digest: str | None
    primary_metric: str
    scope: str
    policy: str
    policy_digest: str
    same_baselines: bool
    """Whether all certificates rest on the same retrained models."""
    entries: tuple[Entry, ...]


class Leaderboard(Part):
    """Ranking of all certificates under a folder."""

    folder: str
    groups: tuple[Group, ...]
    """Groups, the largest first. Entries of two groups are not ranked against one another."""
    unreadable: tuple[Rejected, ...]
    """Files that should be certificates and are not, or were altered."""
    others: tuple[str, ...]
    """JSON files that hold something else."""


def rank(
    folder: str,
    collected: Sequence[Collected],
    unreadable: Sequence[Rejected],
    others: Sequence[str],
) -> Leaderboard:
    """Returns the leaderboard of certificates.

    Ranked by verdict, then by the upper bound of residual knowledge, then by the utility kept.
    Only certificates on the same facts, original model, primary metric, scope and policy are ranked
    together.
    """
    grouped: dict[tuple[str | None, ...], list[Collected]] = defaultdict(list)
    for one in collected:
        grouped[_measure(one.certificate)].append(one)
    groups = [_group(members) for members in grouped.values()]
    groups.sort(key=lambda group: (-len(group.entries), group.entries[0].paths))
    return Leaderboard(
        folder=folder, groups=tuple(groups), unreadable=tuple(unreadable), others=tuple(others)
    )


def _measure(certificate: Certificate) -> tuple[str | None, ...]:
    """Return what certificates must share to be ranked together.

    The list of mandatory attacks is a part of it: a policy that names none takes those of the
    release that audited.
    """
    policy = certificate.policy
    demanded = policy.model_dump(mode="json", exclude={"advisory", "reported"})
    return (
        forget_digest(certificate),
        original_digest(certificate),
        certificate.scope.primary_metric,
        *certificate.scope.deciding_metrics,
        certificate.scope.scope,
        certificate.identity.policy_digest,
        digest(demanded | {"mandatory": sorted(policy.mandatory)}),
    )


def _group(members: Sequence[Collected]) -> Group:
    first = members[0].certificate
    ordered = sorted(members, key=lambda one: (_merit(one.certificate), one.paths))
    entries: list[Entry] = []
    for position, one in enumerate(ordered):
        tied = position and _merit(one.certificate) == _merit(ordered[position - 1].certificate)
        entries.append(_entry(one, entries[-1].rank if tied else position + 1))
    return Group(
        facts_digest=forget_digest(first),
        original_digest=original_digest(first),
        primary_metric=first.scope.primary_metric,
        scope=first.scope.scope,
        policy=first.policy.name,
        policy_digest=first.identity.policy_digest,
        same_baselines=len({tuple(retrained_digests(one.certificate)) for one in members}) == 1,
        entries=tuple(entries),
    )


def _merit(certificate: Certificate) -> tuple[int, float, int, float]:
    """Return the sort key of a certificate, best first.

    What was not measured or not bounded is last of its kind.
    """
    upper = _upper(certificate)
    utility = certificate.utility
    kept = None
    if utility is not None and utility.mean_original:
        kept = utility.mean_unlearned / utility.mean_original
    return (
        place(certificate.verdict.verdict),
        math.inf if upper is None else upper,
        _UTILITY.index(utility_state(utility)),
        math.inf if kept is None else -kept,
    )


def _upper(certificate: Certificate) -> float | None:
    """Return the upper bound over all mandatory attacks.

    A bound over some of them would reward leaving attacks out.
    """
    uncertainty = certificate.uncertainty
    return uncertainty.residual_upper if uncertainty.residual_complete else None


def _entry(one: Collected, rank: int) -> Entry:
    certificate = one.certificate
    utility, forget = certificate.utility, certificate.scope.sets.get("forget")
    residuals = [
        (figures.rho, row.label)
        for row in certificate.matrix
        if row.status is Status.MEASURED and row.role is not Role.REPORTED
        if (figures := row.strongest.figures) is not None and figures.rho is not None
    ]
    worst = max(residuals, default=None)
    return Entry(
        rank=rank,
        paths=one.paths,
        certificate_id=certificate.certificate_id,
        claimed_keys=one.claimed_keys,
        model=certificate.name,
        verdict=certificate.verdict.verdict,
        flags=certificate.verdict.qualifiers,
        residual_lower=certificate.uncertainty.residual_lower,
        residual_upper=_upper(certificate),
        residual_complete=certificate.uncertainty.residual_complete,
        worst_attack=worst[1] if worst else None,
        worst_rho=worst[0] if worst else None,
        utility_state=utility_state(utility),
        utility_unlearned=utility.mean_unlearned if utility else None,
        utility_original=utility.mean_original if utility else None,
        named=tuple(row.label for row in certificate.matrix if row.named),
        facts=forget.facts if forget else None,
        retrained_models=len(retrained_digests(certificate)),
        issued=certificate.timing.issued,
    )
