"""Build the certificate of a finished audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from auditor.certificate.decision import decide_verdict
from auditor.certificate.derived import derived_parts, row_means
from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.reproduction import reproduction
from auditor.certificate.schema import (
    ArmPart,
    Certificate,
    EarlierAuditPart,
    EvidencePart,
    IdentityPart,
    MatrixRow,
    PositiveControlPart,
    TimingPart,
    WeightsPart,
    arm_options,
    set_digests,
)
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.hashing import digest
from auditor.core.messages import Message, message
from auditor.core.time import utc_text
from auditor.engine.audit import AuditOutcome
from auditor.engine.shared_plan import shared_parameters, shared_plan
from auditor.engine.weight_comparison import ComparedWeights
from auditor.models.manifest import are_logs
from auditor.statistics import ControlOutcome
from auditor.store.history import PastAudit


@dataclass(frozen=True)
class ControlResults:
    """Results of the positive controls.

    Attributes:
        parts: what each mandatory attack was given to find, and what it made of it.
        missing: why there are no positive controls; None where there are.
        seals: job key to the digest of the evidence on them.
    """

    parts: tuple[PositiveControlPart, ...] = ()
    missing: Message | None = None
    seals: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcomes(self) -> dict[AttackId, ControlOutcome]:
        """Return each attack's outcome on its positive control.

        It is the control to which the attack is held.
        """
        return {
            AttackId.parse(part.attack): ControlOutcome(part.found, part.message)
            for part in self.parts
        }


NO_CONTROLS = ControlResults(missing=message("positive_controls_not_asked"))
"""Results of an audit whose plan asks for no controls."""


def audited_inputs(outcome: AuditOutcome) -> DecisionInputs:
    """The inputs of the verdict on what an audit gathered."""
    prepared = outcome.prepared
    sets = prepared.sets
    return DecisionInputs(
        policy=prepared.plan.policy,
        arms=tuple(sorted(map(Arm, prepared.locations), key=lambda arm: arm.place)),
        sets={"forget": sets.forget, "retain": sets.retain, "holdout": sets.holdout},
        deciding=prepared.plan.metrics.decides,
        reported=prepared.plan.metrics.reported,
        cross_checked=prepared.plan.metrics.beside,
        attacks=tuple(run.evidence for run in outcome.runs),
        table=outcome.table,
        baseline=prepared.plan.used_baseline,
        built=prepared.built,
        from_logs=any(are_logs(at.manifest.files) for at in prepared.locations.values()),
    )


def build_certificate(
    outcome: AuditOutcome,
    command: str,
    controls: ControlResults = NO_CONTROLS,
    earlier_policies: Sequence[str] = (),
    earlier_audits: Sequence[PastAudit] = (),
    weights: ComparedWeights | None = None,
) -> Certificate:
    """Decide on an audit's evidence and write it down.

    Args:
        outcome: what the engine gathered.
        command: the command line that repeats the audit.
        controls: what the mandatory attacks made of their positive controls.
        earlier_policies: digests of the policies under which the same model and facts were
            audited before.
        earlier_audits: audits of the same model on other facts or with other seeds.
        weights: distances between the weights of the models.
    """
    inputs = audited_inputs(outcome).with_controls(controls.outcomes)
    inputs = replace(inputs, earlier_audits=len(earlier_audits))
    decision = decide_verdict(inputs)
    prepared = outcome.prepared
    seals = {**outcome.seals, **controls.seals}
    seals |= {tried.job: tried.seal for tried in prepared.formats}
    if weights is not None:
        seals[weights.job] = weights.seal
    checks = (check for run in outcome.runs for check in run.report.self_checks)
    issued, days = datetime.now(UTC), prepared.plan.policy.valid_days
    return Certificate(
        certificate_id="",
        about=prepared.plan.about,
        identity=_identity(outcome, earlier_policies, earlier_audits),
        weights=None
        if weights is None
        else WeightsPart.from_distances(weights.job, weights.budget, weights.pairs),
        matrix=tuple(
            MatrixRow.from_assessment(
                assessment,
                row_means(inputs, assessment.evidence),
                run.report,
                shared_parameters(
                    run.evidence.id.name, run.variant.attack.parameters.model_dump(mode="json")
                ),
                run.forward_tokens,
            )
            for assessment, run in zip(decision.attacks, outcome.runs, strict=True)
        ),
        self_checks=tuple({check.message: check for check in checks}.values()),
        positive_controls=controls.parts,
        positive_controls_missing=controls.missing,
        redaction="none",
        evidence=EvidencePart(jobs=seals, digest=digest(seals)),
        warnings=(*prepared.warnings, *filter(None, (outcome.engine,))),
        reproduction=reproduction(outcome, command),
        timing=TimingPart(
            issued=utc_text(issued),
            expires=utc_text(issued + timedelta(days=days)) if days else None,
            started=utc_text(outcome.started),
            wall_seconds=round(outcome.wall_seconds, 3),
            attack_seconds={run.variant.label: round(run.seconds, 3) for run in outcome.runs},
        ),
        **derived_parts(inputs, decision),
    ).named()


def _identity(
    outcome: AuditOutcome, earlier_policies: Sequence[str], earlier_audits: Sequence[PastAudit]
) -> IdentityPart:
    prepared = outcome.prepared
    plan = prepared.plan
    return IdentityPart(
        kind=plan.unlearned.kind,
        arms=tuple(
            ArmPart(
                arm=arm,
                path=said["path"],
                revision=spec.revision,
                adapter=said.get("adapter"),
                dtype=spec.dtype,
                digest=prepared.locations[arm].manifest.digest,
                files=prepared.locations[arm].manifest.files,
                beside=prepared.locations[arm].beside,
                options=arm_options(said),
                built=prepared.built.get(arm),
            )
            for arm, spec in plan.arms.items()
            for said in (shared_plan(spec),)
        ),
        auxiliary_inputs=dict(prepared.auxiliary.digests) or None,
        facts_digest=prepared.facts,
        set_digests=set_digests(prepared.sets),
        plan_digest=digest(shared_plan(plan)),
        policy_digest=plan.policy.digest,
        earlier_policies=tuple(earlier_policies),
        earlier_audits=tuple(map(EarlierAuditPart.from_past, earlier_audits)),
    )
