"""Two certificates to what changed between them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from auditor.certificate.files import EVIDENCE, evidence_beside
from auditor.certificate.schema import Certificate, MatrixRow
from auditor.comparison.order import place, utility_state
from auditor.comparison.pairing import Audit, pair
from auditor.comparison.sameness import (
    differences,
    forget_digest,
    model_changes,
    obstacles,
    policy_changes,
    value_changes,
)
from auditor.comparison.schema import (
    AttackChange,
    AttackSide,
    Comparison,
    Obstacle,
    Outcome,
    PairedDifference,
    PairedPart,
    Side,
    UtilityChange,
)
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.messages import Message, message
from auditor.core.roles import Status
from auditor.core.text_safety import path_text
from auditor.store.places import Place, open_place

Item = TypeVar("Item")

_DIFFERENCE = {"forget set", "primary metric"}
"""Aspects that must be the same for any difference of knowledge."""
_RESIDUAL = _DIFFERENCE | {"original model", "retrained models", "scope"}
"""Aspects that must be the same for a difference of residual knowledge."""
_UTILITY = {"forget set", "retain set", "primary metric"}
"""Aspects that must be the same for a difference of knowledge of the retain set; certificates of
earlier schemas tell the sets not apart."""
_VERDICT = {"scope", "policy"}
"""Aspects that must be the same for two verdicts to be of one rule."""
_PAIRED = _DIFFERENCE | {"original model", "retrained models"}


@dataclass(frozen=True)
class Given:
    """A certificate as it was given."""

    path: Path
    certificate: Certificate
    claimed_keys: tuple[str, ...] | None = None
    """Ids of the keys that are said to have signed it; None where it is no envelope."""
    evidence: Place | None = None
    """Evidence store of the audit. None means the one that
    `evidence_beside` finds, if there is one."""

    @property
    def store(self) -> Place:
        """Folder or URL where its evidence should be."""
        return self.evidence or evidence_beside(self.path) or self.path.parent / EVIDENCE


def compare(a: Given, b: Given) -> Comparison:
    """Compare two certificates.

    Raises:
        AuditorError: evidence that was named is missing or was changed.
    """
    hindering = obstacles(a.certificate, b.certificate)
    others = differences(a.certificate, b.certificate)
    found = (*hindering, *others)
    rows = [{row.label: row for row in given.certificate.matrix} for given in (a, b)]
    shared = [label for label in rows[0] if label in rows[1]]
    paired, by_attack = _paired(a, b, found, [x for x in shared if _pairable(rows, x)])
    differing: set[str] = {obstacle.about for obstacle in found}
    attacks = tuple(
        _attack(rows[0].get(label), rows[1].get(label), differing, by_attack.get(label))
        for label in dict.fromkeys((*rows[0], *rows[1]))
    )
    one, other = a.certificate, b.certificate
    return Comparison(
        a=_side(a),
        b=_side(b),
        comparable=not hindering,
        verdicts_comparable=not hindering and not differing & _VERDICT,
        obstacles=hindering,
        differences=others,
        worse=_worse(one, other, attacks),
        flags_only_a=_only(one.verdict.flags, other.verdict.flags),
        flags_only_b=_only(other.verdict.flags, one.verdict.flags),
        policy=policy_changes(one, other),
        models=model_changes(one, other),
        attacks=attacks,
        utility=_utility(one, other, differing),
        paired=paired,
        warnings_only_a=_only(one.warnings, other.warnings),
        warnings_only_b=_only(other.warnings, one.warnings),
    )


def _side(given: Given) -> Side:
    certificate = given.certificate
    forget = certificate.scope.sets.get("forget")
    return Side(
        path=path_text(given.path),
        certificate_id=certificate.certificate_id,
        issued=certificate.timing.issued,
        verdict=certificate.verdict.verdict,
        flags=certificate.verdict.qualifiers,
        claim=certificate.verdict.claim,
        primary_metric=certificate.scope.primary_metric,
        scope=certificate.scope.scope,
        facts=forget.facts if forget else None,
        facts_digest=forget_digest(certificate),
        policy=certificate.policy.name,
        policy_digest=certificate.identity.policy_digest,
        residual_lower=certificate.uncertainty.residual_lower,
        residual_upper=certificate.uncertainty.residual_upper,
        redaction=certificate.redaction,
        claimed_keys=given.claimed_keys,
    )


def _pairable(rows: Sequence[dict[str, MatrixRow]], label: str) -> bool:
    one, other = (of[label] for of in rows)
    return bool(one.jobs and other.jobs) and one.metric == other.metric


def _paired(
    a: Given, b: Given, found: Sequence[Obstacle], labels: Sequence[str]
) -> tuple[PairedPart, dict[str, PairedDifference]]:
    for given in (a, b):
        if given.evidence is not None:  # what was named must be there, paired or not
            open_place(given.evidence, read_only=True)
    differing = [obstacle.about for obstacle in found if obstacle.about in _PAIRED]
    if differing:
        return _unpaired(message("pairing_needs_same", aspects=differing)), {}
    if not labels:
        return _unpaired(message("no_shared_measurement")), {}
    for name, given in (("A", a), ("B", b)):
        if given.evidence is None and evidence_beside(given.path) is None:
            option = f"--evidence-{name.lower()}"
            return _unpaired(message("evidence_not_found", certificate=name, option=option)), {}
    try:
        audits = [
            Audit(given.certificate, given.path, open_place(given.store, read_only=True))
            for given in (a, b)
        ]
        return pair(audits[0], audits[1], labels)
    except AuditorError as error:
        if a.evidence or b.evidence:
            raise
        return _unpaired(message("evidence_not_usable", quoted=("error",), error=str(error))), {}


def _unpaired(why: Message) -> PairedPart:
    return PairedPart(
        possible=False, why_not=why, alpha=None, unit=None, facts=(), facts_missing=None
    )


def _attack(
    a: MatrixRow | None,
    b: MatrixRow | None,
    differing: set[str],
    paired: PairedDifference | None,
) -> AttackChange:
    named = b or a
    if named is None:
        raise ValueError("an attack that neither certificate has")
    one, other = _attack_side(a), _attack_side(b)
    k_change = rho_change = None
    if one and other and one.metric == other.metric:
        if not differing & _DIFFERENCE:
            k_change = _change(one.k_unlearned, other.k_unlearned)
        if not differing & _RESIDUAL:
            rho_change = _change(one.rho, other.rho)
    return AttackChange(
        attack=named.attack,
        variant=named.variant,
        a=one,
        b=other,
        parameters=value_changes(_settings(a), _settings(b)) if a and b else (),
        k_unlearned_change=k_change,
        rho_change=rho_change,
        newly_named=bool(other and other.named and not (one and one.named)),
        paired=paired,
    )


def _settings(row: MatrixRow) -> dict[str, object]:
    """Return the settings of an attack.

    The number of its runs is one of them.
    """
    runs = {"runs": len(row.jobs[Arm.UNLEARNED])} if Arm.UNLEARNED in row.jobs else {}
    metrics = [reading.metric for reading in row.readings]
    return dict(row.parameters) | {"metrics": metrics} | runs


def _attack_side(row: MatrixRow | None) -> AttackSide | None:
    if row is None:
        return None
    measured = row.status is Status.MEASURED
    by_arm = row.forget.get(row.metric, {}) if measured else {}
    retrained = [k for arm, k in by_arm.items() if Arm(arm).is_retrained]
    figures = row.figures if measured else None
    return AttackSide(
        status=row.status,
        outcome=_outcome(row),
        reason=row.reason,
        role=row.role,
        metric=row.metric,
        named=row.named,
        over_forgotten=row.over_forgotten,
        k_unlearned=by_arm.get(Arm.UNLEARNED),
        k_retrained=fmean(retrained) if retrained else None,
        k_original=by_arm.get(Arm.ORIGINAL),
        rho=figures.rho if figures else None,
        rho_lower=figures.rho_lower if figures else None,
        rho_upper=figures.rho_upper if figures else None,
        leaked=figures.leak.leaked if figures else None,
        eligible=figures.leak.eligible if figures else None,
        leak_upper=figures.leak.upper if figures else None,
        unmet=tuple(_unmet(row)),
    )


def _outcome(row: MatrixRow) -> Outcome:
    """Return the outcome of an attack, as its certificate's page words it."""
    if row.status is not Status.MEASURED:
        return "failed" if row.status is Status.FAILED else "unavailable"
    if row.named:
        return "leak found"
    read = all(reading.figures is not None and reading.gates for reading in row.readings)
    return "within margin" if read and all(gate.met for gate in row.gates) else "undecided"


def _unmet(row: MatrixRow) -> Iterator[str]:
    """Yield the gates that are not met.

    The metric is named where several decide.
    """
    for reading in row.readings:
        by = f" by {reading.metric}" if len(row.readings) > 1 else ""
        yield from (f"{gate.name}{by}" for gate in reading.gates if not gate.met)
    yield from (gate.name for gate in row.shared_gates if not gate.met)


def _utility(a: Certificate, b: Certificate, differing: set[str]) -> UtilityChange:
    one, other = a.utility, b.utility
    return UtilityChange(
        state_a=utility_state(one),
        state_b=utility_state(other),
        unlearned_a=one.mean_unlearned if one else None,
        unlearned_b=other.mean_unlearned if other else None,
        original_a=one.mean_original if one else None,
        original_b=other.mean_original if other else None,
        change=other.mean_unlearned - one.mean_unlearned
        if one and other and not differing & _UTILITY
        else None,
    )


def _worse(a: Certificate, b: Certificate, attacks: Sequence[AttackChange]) -> tuple[Message, ...]:
    before, after = a.verdict.verdict, b.verdict.verdict
    named = tuple(message("newly_named", attack=one.label) for one in attacks if one.newly_named)
    if place(after) > place(before):
        return (message("verdict_worse", a=before, b=after), *named)
    return named


def _change(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _only(these: Sequence[Item], those: Sequence[Item]) -> tuple[Item, ...]:
    return tuple(one for one in these if one not in those)
