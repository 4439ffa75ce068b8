"""Inputs of a verdict from a certificate and its store."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from auditor.attack import ATTACKS
from auditor.certificate.control_outcomes import ControlMeasurement, control_outcome
from auditor.certificate.decision import assess_controls, decide_verdict
from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.schema import (
    Certificate,
    ControlModelPart,
    MatrixRow,
    PositiveControlPart,
)
from auditor.core.aliases import attack_label
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline, strongest_baseline
from auditor.core.errors import AuditorError, ContradictedError, EvidenceChangedError
from auditor.core.facts import Fact, FactSets
from auditor.core.messages import Message, message
from auditor.core.roles import Role, Status
from auditor.data.folds import names_entities
from auditor.engine.expansion import suited
from auditor.models.manifest import are_logs
from auditor.policy import AS_IS, Assigned, Policy, assign_roles, parse_policy
from auditor.statistics import AttackAssessment, AttackEvidence, ControlOutcome
from auditor.statistics.rules import FORMER, TODAY
from auditor.store.base import EvidenceStore
from auditor.store.environment import former_environment
from auditor.store.gathering import (
    code_message,
    dormant_units_message,
    effect_message,
    environment_message,
    is_noted,
    measured_evidence,
    null_of,
    tokenization_message,
    unread,
    weights_message,
)
from auditor.store.table import Evidence, EvidenceTable

Tables = Callable[[Sequence[tuple[AttackId, dict[str, tuple[str, ...]]]]], EvidenceTable]
"""Function that makes a table of the jobs of attacks."""


def inapplicable(certificate: Certificate, policy: Policy, default: Sequence[str] = ()) -> set[str]:
    """Return the names of attacks that ask nothing new.

    The digests of the models' files say it, and whether one is a mixture of experts or writes
    traces of thought.

    Args:
        certificate: lists files and attacks.
        policy: demands further attacks.
        default: labels that are mandatory where the policy lists none.
    """
    wanted = default if policy.mandatory is None else policy.mandatory
    named = {row.attack for row in certificate.matrix}
    named |= {AttackId.parse(attack_label(name)).name for name in wanted}
    files = {part.arm: part.files for part in certificate.identity.arms}
    experts, traces = states_experts(certificate), states_traces(certificate)
    return {
        name
        for name in named & set(ATTACKS.names())
        if ATTACKS.metadata(name).inapplicable(files, experts=experts, traces=traces) is not None
    }


def states_experts(certificate: Certificate) -> bool:
    """Whether a certificate calls a model a mixture of experts.

    What was measured without attack noted it; `check_contradiction` compares the notes with the
    evidence.
    """
    return _states(certificate, "experts")


def states_traces(certificate: Certificate) -> bool:
    """Return whether a certificate says that models write traces.

    It is noted as `states_experts` says.
    """
    return _states(certificate, "traces")


def _states(certificate: Certificate, what: str) -> bool:
    noted = (row.notes.values() for row in certificate.matrix if row.attack == AS_IS)
    return any(notes.get(what) is True for arms in noted for notes in arms)


def stated_policy(certificate: Certificate) -> Policy:
    """Return the policy under which a certificate was decided.

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


def load_inputs(
    certificate: Certificate, store: EvidenceStore, columns: Sequence[str] | None = None
) -> DecisionInputs:
    """Load the inputs of a certificate's verdict from stored evidence.

    Args:
        certificate: certificate whose figures are to be worked out again; only its list of attacks
            and jobs, its policy and the names of its models are used.
        store: where the evidence is.
        columns: columns of the evidence; the answers may be left out where no text is wanted.

    Raises:
        EvidenceChangedError: evidence or facts are missing, or not those that the certificate
            lists.
        ContradictedError: the policy in its plan is not the one that it names, or demands an attack
            that the certificate does not list.
    """
    sets = store.facts(certificate.identity.facts_digest)
    policy = stated_policy(certificate)
    _check_converted(certificate, store)

    def tables(used: Sequence[tuple[AttackId, dict[str, tuple[str, ...]]]]) -> EvidenceTable:
        return EvidenceTable(
            Evidence(attack, arm, seed, store.rows(_listed(certificate, store, key), columns))
            for attack, jobs in used
            for arm, keys in jobs.items()
            for seed, key in enumerate(keys)
        )

    scope = certificate.scope
    _check_metrics(certificate)
    experts = has_experts(certificate, store)
    bare = DecisionInputs(
        policy=policy,
        arms=tuple(
            sorted((Arm(part.arm) for part in certificate.identity.arms), key=lambda arm: arm.place)
        ),
        sets={"forget": sets.forget, "retain": sets.retain, "holdout": sets.holdout},
        deciding=(scope.primary_metric, *scope.deciding_metrics),
        reported=scope.reported_metrics,
        cross_checked=() if certificate.converted_from else scope.reported_metrics,
        attacks=(),
        table=tables([(row.id, row.jobs) for row in certificate.matrix]),
        baseline=_baseline(certificate, bool(sets.holdout)),
        earlier_audits=len(certificate.identity.earlier_audits),
        built=certificate.identity.built,
        from_logs=any(are_logs(part.files) for part in certificate.identity.arms),
        experts=experts,
        rules=TODAY if certificate.converted_from is None else FORMER,
    )
    assigned = _assigned(certificate, _suited(certificate, policy, sets.forget, experts=experts))
    attacks = [
        replace(
            attack,
            effect=effect_message(store, attack.id, _declared(certificate, attack.id), attack.jobs),
        )
        for attack in (_evidence(bare, row, assigned[row.id], store) for row in certificate.matrix)
    ]
    if certificate.converted_from is None:  # earlier versions looked at neither
        attacks = [
            replace(
                attack,
                weights=weights_message(store, attack.id, attack.jobs),
                dormant_units=dormant_units_message(store, attack.id, attack.jobs),
                tokenization=tokenization_message(
                    store, attack.id, attack.jobs, baseline=attack.baseline
                ),
                code=code_message(store, attack.id, sets.forget, attack.jobs)
                if attack.baseline and attack.jobs
                else None,
            )
            for attack in attacks
        ]
    inputs = replace(bare, attacks=tuple(attacks))
    if not certificate.positive_controls:
        return inputs
    return inputs.with_controls(_control_outcomes(certificate, inputs, tables, store))


def _baseline(certificate: Certificate, holdout: bool) -> Baseline:
    """Return the baseline that a certificate's plan uses.

    Raises:
        ContradictedError: the plan names one that does not exist, or its models and facts allow
            none.
    """
    plan = certificate.reproduction.plan
    arms = [Arm(part.arm) for part in certificate.identity.arms]
    references = [arm for arm in arms if arm.is_reference]
    named = plan.get("baseline")
    if named is not None:
        try:
            return Baseline(named)
        except ValueError as error:
            raise ContradictedError(f"its plan names no baseline: {named!r}.") from error
    found = strongest_baseline(
        retrained=any(arm.is_retrained and not arm.is_reference for arm in arms),
        reference=bool(references),
        holdout=holdout,
    )
    if found is None:
        raise ContradictedError("neither its models nor its facts are a baseline.")
    return found


def _check_converted(certificate: Certificate, store: EvidenceStore) -> None:
    """Refuse a certificate that claims the rules of another release.

    Raises:
        ContradictedError: a later release measured a job of it.
    """
    if certificate.converted_from is None:
        return
    for key in certificate.evidence.jobs:
        if former_environment(store.identity(key)) is None:
            raise ContradictedError(
                f"the certificate says that schema {certificate.converted_from} is its own, and a "
                f"later release measured its job {key[:12]}…."
            )


def _check_metrics(certificate: Certificate) -> None:
    """Refuse a certificate that other metrics decide than its plan says.

    Raises:
        ContradictedError: they are others.
    """
    planned = certificate.reproduction.plan.get("metrics")
    if certificate.converted_from is not None or not isinstance(planned, dict):
        return
    said = dict.fromkeys((planned.get("primary"), *(planned.get("deciding") or ())))
    deciding = (certificate.scope.primary_metric, *certificate.scope.deciding_metrics)
    if tuple(said) != deciding:
        raise ContradictedError(
            f"{', '.join(deciding)} decide in the certificate, and its plan says "
            f"{', '.join(map(str, said))}."
        )


def under_policy(
    inputs: DecisionInputs, certificate: Certificate, policy: Policy, default: Sequence[str]
) -> tuple[DecisionInputs, tuple[AttackId, ...]]:
    """The same inputs under another policy.

    Where it says how many facts may leak they are counted, whatever release made the certificate.

    Args:
        inputs: inputs of the certificate.
        certificate: that names the attacks' parameters.
        policy: gives the attacks their roles.
        default: labels that are mandatory where the policy lists none.

    Returns:
        The inputs, with what the policy demands and the audit lacks as unavailable; and these.

    Raises:
        AuditorError: the policy demands an attack that is only reported, or waives what it does
            not demand.
    """
    idle = inapplicable(certificate, policy, default)
    reported = [attack.id for attack in inputs.attacks if attack.role is Role.REPORTED]
    usual = tuple(default) if policy.mandatory is None else policy.mandatory
    demanded = policy.model_copy(update={"mandatory": usual})
    assigned, missing = assign_roles(
        _suited(certificate, demanded, inputs.sets["forget"], experts=inputs.experts),
        {row.id: row.parameters for row in certificate.matrix},
        reported,
        inapplicable=idle,
    )
    never_run = [
        AttackEvidence(
            id=attack,
            role=Role.ADVISORY,
            readings=unread(inputs.deciding),
            status=Status.UNAVAILABLE,
            reason=message("not_run_by_audit"),
            baseline=attack.name == AS_IS,
        )
        for attack in missing
    ]
    attacks = tuple(
        replace(attack, role=assigned[attack.id].role, shortfall=assigned[attack.id].shortfall)
        for attack in (*inputs.attacks, *never_run)
    )
    counted = inputs.rules.leaks_counted or policy.leaked_facts is not None
    rules = replace(inputs.rules, leaks_counted=counted)
    return replace(inputs, policy=policy, attacks=attacks, rules=rules), missing


def has_experts(certificate: Certificate, store: EvidenceStore) -> bool:
    """Return whether a job without attack noted a mixture of experts."""
    return _noted(certificate, store, "experts")


def has_traces(certificate: Certificate, store: EvidenceStore) -> bool:
    """Return whether a job without attack noted traces of thought."""
    return _noted(certificate, store, "traces")


def _noted(certificate: Certificate, store: EvidenceStore, what: str) -> bool:
    return any(is_noted(store, row.jobs, what) for row in certificate.matrix if row.attack == AS_IS)


def _suited(
    certificate: Certificate, policy: Policy, forget: Sequence[Fact], *, experts: bool
) -> Policy:
    """Return the policy with demands that facts and models allow.

    Releases before schema 4 replaced no level.
    """
    former = certificate.converted_from is not None
    return suited(policy, entities=former or names_entities(forget), experts=experts and not former)


def _assigned(certificate: Certificate, policy: Policy) -> dict[AttackId, Assigned]:
    """Return the roles that the certificate's own policy assigns."""
    rows = certificate.matrix
    labels = [row.label for row in rows]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ContradictedError(f"the certificate lists {', '.join(repeated)} twice.")
    reported = [row.id for row in rows if row.role is Role.REPORTED]
    try:
        assigned, missing = assign_roles(
            policy,
            {row.id: row.parameters for row in rows},
            reported,
            inapplicable=inapplicable(certificate, policy),
        )
    except AuditorError as error:  # a plan like that would have been refused
        raise ContradictedError(f"the certificate cannot be that of an audit: {error}") from error
    if missing:
        names = ", ".join(attack.label for attack in missing)
        raise ContradictedError(f"its policy demands {names}, which the certificate does not list.")
    return assigned


def _evidence(
    inputs: DecisionInputs, row: MatrixRow, assigned: Assigned, store: EvidenceStore
) -> AttackEvidence:
    """Return the evidence of a row.

    It has the role that the policy gives it.
    """
    if row.jobs:
        return measured_evidence(
            inputs.table,
            row.id,
            assigned.role,
            [reading.metric for reading in row.readings],
            row.jobs,
            inputs.arms,
            inputs.sets["forget"],
            baseline=row.attack == AS_IS,
            null=null_of(_sets(inputs), inputs.baseline),
            reported=inputs.cross_checked if row.metric in inputs.deciding else (),
            shortfall=assigned.shortfall,
            environment=environment_message(store, row.id, row.jobs),
        )
    if row.status is Status.MEASURED or row.reason is None:
        raise ContradictedError(
            f"the certificate names no evidence of {row.label}, and no reason why there is none."
        )
    return AttackEvidence(
        id=row.id,
        role=assigned.role,
        status=row.status,
        reason=row.reason,
        readings=unread([reading.metric for reading in row.readings]),
        baseline=row.attack == AS_IS,
        shortfall=assigned.shortfall,
    )


def _sets(inputs: DecisionInputs) -> FactSets:
    return FactSets(**{name: tuple(facts) for name, facts in inputs.sets.items()})


def _declared(certificate: Certificate, attack: AttackId) -> str | None:
    """Return what an attack must move, as its class says.

    None where the certificate is of a release whose attacks declared nothing, and of an attack
    that is not installed: what its jobs note of an effect decides then.
    """
    if certificate.converted_from is not None or attack.name not in ATTACKS.names():
        return None
    return ATTACKS.metadata(attack.name).effect


def _listed(certificate: Certificate, store: EvidenceStore, key: str) -> str:
    """Return a job's key if the store holds its evidence.

    The evidence must be what the certificate lists under the key.
    """
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


def _check_controls(certificate: Certificate, attacks: Sequence[AttackAssessment]) -> None:
    """Refuse a certificate that leaves out the control of an attack.

    An attack that missed its control blocks a PASS, and one without a control does not.

    Raises:
        ContradictedError: names the attacks whose controls are missing or too many.
    """
    held = {a.label for a in attacks if a.mandatory and a.figures is not None}
    given = {part.attack for part in certificate.positive_controls}
    if certificate.converted_from is None and given != held:
        raise ContradictedError(
            "the certificate has positive controls of other attacks than were held to one: "
            f"{', '.join(sorted(given ^ held))}."
        )


def _control_outcomes(
    certificate: Certificate, inputs: DecisionInputs, tables: Tables, store: EvidenceStore
) -> dict[AttackId, ControlOutcome]:
    """Return what each attack makes of its positive control.

    It is the control to which the attack is held.
    """
    assessed_first = decide_verdict(inputs).attacks
    _check_controls(certificate, assessed_first)
    shares = {a.evidence.id: a.parts for a in assessed_first}
    rows = {row.label: row for row in certificate.matrix}
    roles = {attack.id: attack for attack in inputs.attacks}
    as_is = rows[inputs.as_is.id.label]

    def measured(label: str, part: ControlModelPart) -> ControlMeasurement:
        row = rows[label]
        used = [as_is.model_copy(update={"jobs": part.as_is})]
        if row.attack != AS_IS:
            other = {"status": part.status, "reason": part.reason} if part.status else {}
            used.append(row.model_copy(update={"jobs": part.jobs, **other}))
        seen = replace(inputs, table=tables([(one.id, one.jobs) for one in used]))
        attacks = tuple(
            _evidence(seen, one, Assigned(roles[one.id].role, roles[one.id].shortfall), store)
            for one in used
        )
        assessed = assess_controls(replace(seen, attacks=attacks), shares)
        assessment = next(a for a in assessed if a.label == label)
        return ControlMeasurement(
            part.kind,
            part.grid,
            part.left,
            bool(part.rescaled),
            assessment,
            inputs.policy.alpha,
        )

    def outcome(part: PositiveControlPart) -> ControlOutcome:
        if part.attack not in rows:
            raise ContradictedError(
                f"the certificate has a positive control of {part.attack}, and no such attack."
            )
        other: ControlMeasurement | Message
        if part.obfuscated is not None:
            other = measured(part.attack, part.obfuscated)
        else:
            other = part.missing or message("not_run_by_audit")
        visible = measured(part.attack, part.visible)
        return control_outcome(part.attack, part.required, visible, other)

    return {AttackId.parse(part.attack): outcome(part) for part in certificate.positive_controls}
