"""From a certificate and the evidence store back to the case that was decided."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from auditor.certificate.case import Case, Trial
from auditor.certificate.judgement import judge
from auditor.certificate.schema import Certificate, PositiveControlPart, SightPart
from auditor.certificate.sight import Planted, Sight, control
from auditor.core.errors import AuditorError, ContradictedError, EvidenceChangedError
from auditor.evidence.store import EvidenceStore
from auditor.evidence.table import Evidence, EvidenceTable
from auditor.policy import AS_IS, Policy, parse_policy
from auditor.statistics import Control
from auditor.verification.standing import under


def stated_policy(certificate: Certificate) -> Policy:
    """The policy that a certificate was decided under.

    Raises:
        ContradictedError: what the certificate holds of it does not have the digest that it names.
    """
    policy = parse_policy(
        certificate.reproduction.plan.get("policy", {}), "the policy in the certificate's plan"
    )
    if not policy.has_digest(certificate.identity.policy_digest):
        raise ContradictedError(
            "the policy in the certificate's plan is not the one whose digest it names: "
            f"{policy.digest} instead of {certificate.identity.policy_digest}."
        )
    return policy


def recall(
    certificate: Certificate, store: EvidenceStore, columns: Sequence[str] | None = None
) -> Case:
    """The case of a certificate, from stored evidence.

    Args:
        certificate: whose figures are to be worked out again; only its list of attacks and jobs,
            its policy and the names of its models are used.
        store: where the evidence is.
        columns: of the evidence; the answers may be left out where no text is wanted.

    Raises:
        EvidenceChangedError: evidence or facts are missing, or not those that the certificate
            lists.
        ContradictedError: the policy in its plan is not the one that it names, or demands an attack
            that the certificate does not list.
    """
    sets = store.facts(certificate.identity.facts_digest)
    policy = stated_policy(certificate)
    trials = _trials(certificate, policy)

    def table(used: Sequence[Trial]) -> EvidenceTable:
        return EvidenceTable(
            Evidence(
                trial.attack,
                trial.variant,
                arm,
                seed,
                store.rows(_listed(certificate, store, key), columns),
            )
            for trial in used
            for arm, keys in trial.jobs.items()
            for seed, key in enumerate(keys)
        )

    case = Case(
        policy=policy,
        arms=tuple(part.arm for part in certificate.identity.arms),
        sets={"forget": sets.forget, "retain": sets.retain, "holdout": sets.holdout},
        metrics=(
            certificate.scope.primary_metric,
            *(
                metric
                for metric in certificate.scope.reported_metrics
                if metric != certificate.scope.primary_metric
            ),
        ),
        trials=trials,
        table=table(trials),
        planted={},
    )
    if not certificate.positive_controls:
        return case
    return replace(case, planted=_planted(certificate, case, table))


def _trials(certificate: Certificate, policy: Policy) -> tuple[Trial, ...]:
    """What was tried, with the part that the policy gives it."""
    tried = [
        Trial(
            attack=row.attack,
            variant=row.variant,
            mandatory=False,
            waived=False,
            reported=row.reported,
            metric=row.metric,
            status="measured" if row.jobs else row.status,
            reason=None if row.jobs else row.reason,
            jobs=row.jobs,
        )
        for row in certificate.matrix
    ]
    parameters = {row.label: row.parameters for row in certificate.matrix}
    try:
        trials, missing = under(policy, tried, parameters)
    except AuditorError as error:  # a plan like that would have been refused
        raise ContradictedError(f"the certificate cannot be that of an audit: {error}") from error
    if missing:
        raise ContradictedError(
            f"its policy demands {', '.join(missing)}, which the certificate does not list."
        )
    return trials


def _listed(certificate: Certificate, store: EvidenceStore, key: str) -> str:
    """The key of a job, if the store holds what the certificate lists under it."""
    claimed = certificate.evidence.jobs.get(key)
    if claimed is None:
        raise ContradictedError(
            f"the certificate uses the job {key}, which its evidence does not list."
        )
    if store.claimed_seal(key) != claimed:
        raise EvidenceChangedError(
            f"the evidence of job {key} in {store.name} is not the evidence that the certificate "
            "was made from."
        )
    return key


def _planted(
    certificate: Certificate, case: Case, table: Callable[[Sequence[Trial]], EvidenceTable]
) -> dict[str, Control]:
    """Label of a mandatory attack to what it makes of the suppression planted for it."""
    decision = judge(case)
    tests = sum(a.figures is not None and not a.reported for a in decision.attacks)
    by_label = {trial.label: trial for trial in case.trials}

    def sight(label: str, part: SightPart) -> Sight:
        tried = [
            replace(case.as_is, jobs=part.as_is),
            *(
                [replace(by_label[label], jobs=part.jobs)]
                if by_label[label].attack != AS_IS
                else []
            ),
        ]
        seen = judge(replace(case, trials=tuple(tried), table=table(tried)))
        assessment = next(a for a in seen.attacks if a.name == label)
        return Sight(Planted(part.kind, part.grid, part.left), assessment, case.policy.alpha, tests)

    def found(part: PositiveControlPart) -> Control:
        hidden = part.hidden_missing or ""
        return control(
            part.attack,
            part.must_find,
            sight(part.attack, part.partial),
            hidden if part.hidden is None else sight(part.attack, part.hidden),
        )

    return {part.attack: found(part) for part in certificate.positive_controls}
