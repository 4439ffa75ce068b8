"""Plan and run audits."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from auditor.api.issuing import DEFAULT_FOLDER, issue, make_folder, open_store, repeating
from auditor.api.measuring import Attackable, attack_with, record_of
from auditor.attack import AnyAttack
from auditor.certificate.build import audited_inputs
from auditor.certificate.decision import margins, power
from auditor.certificate.schema import Certificate, ReadingPart
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.files import write_whole
from auditor.core.findings import Finding
from auditor.core.messages import Message
from auditor.core.progress import Progress, SilentProgress
from auditor.core.roles import Role
from auditor.core.wording import sentence
from auditor.engine.audit import run_audit
from auditor.engine.capacity import capacity, check_fits, shapes_of
from auditor.engine.estimate import Estimate, estimate
from auditor.engine.estimate import within as within_time
from auditor.engine.executors.base import Executor, executor_named
from auditor.engine.formats import compare_formats, unused_chat_template
from auditor.engine.machine import Machine, free_memory, probe, stated
from auditor.engine.plan import AuditPlan, read_plan
from auditor.engine.plan_checks import check_plan
from auditor.engine.preparation import Prepared, prepare
from auditor.models.kind import kind_named
from auditor.models.model import AuditedModel
from auditor.models.spec import ModelSpec
from auditor.policy import AS_IS, Policy
from auditor.positive_controls.estimate import estimate_controls
from auditor.positive_controls.runner import run_controls
from auditor.report import REPORTS, remove_certificates
from auditor.statistics import AssessedReading, AttackAssessment, FactsNeeded, Verdict, decide
from auditor.statistics.readings import strongest
from auditor.store.base import EvidenceStore
from auditor.store.columns import tabulate
from auditor.store.gathering import measured_evidence
from auditor.store.table import Evidence, EvidenceTable
from auditor.verification.evidence_rows import evidence_rows

Modelled = str | Path | Mapping[str, Any] | ModelSpec | AuditedModel
"""Model: its path or hub name, what a plan says of it, or the model itself."""
Known = str | Path | Mapping[str, Any] | Sequence[Fact]
"""Facts: a file, what a plan says of their source, or the facts themselves."""
PlanLike = str | Path | Mapping[str, Any] | AuditPlan
"""Plan, its file, or its content."""

_NAMED = 3
"""Leaked facts that a notebook names where the verdict is no PASS."""
_FIGURES = ("rho", "rho_lower", "rho_upper", "log_e_pass", "log_e_fail", "gap_mean", "gap_lower")
_SETS: tuple[SetName, ...] = ("forget", "retain", "holdout")


@dataclass(frozen=True)
class Planned:
    """Plan of an audit: its steps, needs and cost."""

    prepared: Prepared
    estimates: Sequence[Estimate]
    """Cost of each variant."""
    machine: Machine
    """Machine that the estimates are for."""
    finished: int
    """Finished jobs of the store by which times were taken; 0 where none is comparable."""
    controls: Estimate | None
    """Cost of the positive controls; None where the plan asks for none."""
    facts_needed: FactsNeeded | None
    """Facts that a PASS needs; None where the models were not asked."""

    @property
    def costs(self) -> Sequence[Estimate]:
        """Cost of each variant, then of the positive controls."""
        return [*self.estimates, *([self.controls] if self.controls else [])]

    @property
    def warnings(self) -> Sequence[Message]:
        """Messages on what may weaken the audit."""
        return self.prepared.warnings

    def to_frame(self) -> pd.DataFrame:
        """One row a variant: label, role, jobs, tokens, seconds."""
        return pd.DataFrame([asdict(entry) for entry in self.costs])


@dataclass(frozen=True)
class AuditResult:
    """A finished audit: certificate and evidence."""

    certificate: Certificate
    store: EvidenceStore
    folder: Path
    """Folder in which certificate and reports were written."""

    @property
    def verdict(self) -> Verdict:
        """The verdict of the audit."""
        return Verdict(self.certificate.verdict.verdict)

    @property
    def exit_code(self) -> int:
        """Exit code of the command line for this verdict."""
        return self.certificate.verdict.exit_code

    def to_frame(self) -> pd.DataFrame:
        """The evidence: one row a fact, metric, seed, arm and attack."""
        return evidence_rows(self.certificate, self.store, answers=True).to_pandas()

    def figures(self) -> pd.DataFrame:
        """Return the figures as a table, one row for each attack.

        It has role, status, residual knowledge with its bounds, e-values and leaks; of several
        deciding metrics those of the one that shows most.
        """
        rows = []
        for row in self.certificate.matrix:
            rows.append(
                {"attack": row.attack, "variant": row.variant, "role": str(row.role)}
                | {"status": str(row.status), "named": row.named}
                | _known(row.strongest)
            )
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """Verdict, claim, reasons and figures, for a notebook."""
        verdict = self.certificate.verdict
        reasons = "".join(
            f"<li>{escape(sentence(reason))}</li>" for reason in verdict.reasons_naming(_NAMED)
        )
        title = ", ".join((verdict.title, *verdict.flags))
        return (
            f"<h3>{escape(title)}</h3><p>{escape(sentence(verdict.claim))}</p>"
            f"<ul>{reasons}</ul>{_html(self.figures())}"
        )


@dataclass(frozen=True)
class Measurement:
    """Evidence on models that were handed over loaded.

    There is no certificate of it.

    Their files were not hashed, so nothing ties the figures to a model that is released.
    """

    evidence: Sequence[Evidence]
    assessments: Sequence[AttackAssessment]
    """Assessments of the attacks under the policy's margins."""

    def to_frame(self) -> pd.DataFrame:
        """The evidence: one row a fact, metric, seed, arm and attack."""
        frames = [
            entry.rows.drop_columns(["picture", "prompt"])
            .to_pandas()
            .assign(
                attack=entry.attack.name,
                variant=entry.attack.variant,
                arm=str(entry.arm),
                seed=entry.seed,
            )
            for entry in self.evidence
        ]
        columns = ["attack", "variant", "arm", "seed", "set", "fact", "entity", "metric", "k"]
        return pd.concat(frames, ignore_index=True)[[*columns, "answer"]]

    def figures(self) -> pd.DataFrame:
        """One row an attack: residual knowledge with its bounds, e-values, leaks."""
        rows = []
        for assessment in self.assessments:
            attack = assessment.evidence.id
            rows.append(
                {"attack": attack.name, "variant": attack.variant, "named": assessment.named}
                | _known(strongest(assessment.readings))
            )
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """Say what it is, and show its figures, in a notebook."""
        return f"<h3>Measurement of models in memory; no certificate</h3>{_html(self.figures())}"


def plan(
    source: PlanLike | None = None,
    *,
    out: str | Path = DEFAULT_FOLDER,
    store: str | Path | None = None,
    pilot: bool = True,
    executor: str = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus: int | None = None,
    machine: str | None = None,
    within: float | None = None,
    even_if_it_does_not_fit: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Planned:
    """Check a plan, and say what it will run, need and cost.

    It runs no attack.

    Args:
        source: A plan, its file, or its content; or leave it out and give its parts as `audit`
            takes them.
        out: Folder of the audit.
        store: Folder or URL (``s3://…``) of the evidence, by default ``evidence`` in ``out``.
        pilot: Ask the original and the retrained models, without attack, how many facts a PASS
            needs. The audit uses that evidence again.
        executor: Name of the executor that asks them.
        workers: Jobs that run at once; by default, what suits the executor.
        address: Address of the cluster, for an executor that joins one.
        gpus: GPUs of each worker of a cluster.
        machine: Another machine that the audit is for (``8xH100``, ``1x80GB``, or a YAML file); its
            models are not asked here then.
        within: Seconds in which it is to end; what is not to be had in them is left out.
        even_if_it_does_not_fit: Do not refuse a plan that the machine has no memory for.
        progress: Is told how far the check has come.
        settings: Parts of the plan.

    Raises:
        AuditorError: Something in the plan cannot be used; all that is wrong is named at once.
    """
    folder, watcher = Path(out), progress or SilentProgress()
    held = open_store(folder, store)
    prepared = prepare(plan_of(source, settings, folder), held, watcher)
    runner = executor_named(executor, workers, address=address, gpus=gpus)
    chosen = stated(machine) if machine is not None else _probed(prepared, folder)
    elsewhere = address is not None and machine is None  # what a cluster has is not known here
    if not (even_if_it_does_not_fit or elsewhere):
        there = capacity(prepared, chosen, shapes_of(prepared), least_alone=True)
        check_fits(there, prepared, held)
    if pilot and machine is None:
        prepared = compare_formats(prepared, held, runner, watcher)
    else:
        prepared = unused_chat_template(prepared)
    estimates = estimate(prepared, held, chosen)
    controls = None
    if prepared.plan.runs_controls:
        controls = estimate_controls(prepared, estimates.capacity)
    if within is not None:
        prepared = within_time(prepared, estimates, within - (controls.seconds if controls else 0))
        estimates = estimate(prepared, held, chosen)
    needed = None
    if pilot and machine is None:
        needed = _pilot(prepared, held, runner, watcher)
    return Planned(
        prepared, estimates.variants, chosen, estimates.calibration.jobs, controls, needed
    )


def _probed(prepared: Prepared, folder: Path) -> Machine:
    """Measure this machine for the original."""
    plan = prepared.plan
    shape = plan.kind.shape(plan.original, prepared.locations[Arm.ORIGINAL])
    return probe(plan.original, shape, folder)


def audit(
    source: PlanLike | None = None,
    *,
    unlearned: Modelled | None = None,
    original: Modelled | None = None,
    retrained: Modelled | Sequence[Modelled] = (),
    reference: Modelled | Sequence[Modelled] = (),
    forget: Known | None = None,
    retain: Known | None = None,
    holdout: Known | None = None,
    attacks: Sequence[Attackable | Mapping[str, Any]] = (),
    out: str | Path = DEFAULT_FOLDER,
    store: str | Path | None = None,
    reports: Sequence[str] = ("html",),
    redact: bool = False,
    executor: str = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus: int | None = None,
    within: float | None = None,
    even_if_it_does_not_fit: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> AuditResult:
    """Attack all arms alike, decide, and write the certificate.

    Give a plan, or its parts. An interrupted audit goes on where it stopped when it is run again
    with the same store. For models that were handed over loaded see `measure`.

    Args:
        source: A plan, its file, or its content.
        unlearned: The model under audit.
        original: The model before unlearning.
        retrained: Models trained without the forget set.
        reference: Models that never saw it and were trained otherwise, where none was retrained.
        forget: Facts that must be gone.
        retain: Facts that must stay.
        holdout: Facts that no model has seen.
        attacks: Attacks besides those of the profile.
        out: Folder of the certificate.
        store: Folder or URL (``s3://…``) of the evidence, by default ``evidence`` in ``out``.
        reports: Names of the reports that are written beside the certificate.
        redact: Put keyed digests in the place of the facts' texts. Facts of a hazardous layout
            (`wmdp`) are never shown, whatever is said here.
        executor: Name of the executor.
        workers: Jobs that run at once; by default, what suits the executor.
        address: Address of the cluster, for an executor that joins one.
        gpus: GPUs of each worker of a cluster.
        within: Seconds in which it is to end, by estimate; what is not to be had in them is left
            out, and blocks a PASS where it is mandatory.
        even_if_it_does_not_fit: Run a plan that this machine has no memory for all the same.
        progress: Is told how far the audit has come.
        settings: Other parts of the plan: ``about``, ``baseline``, ``profile``, ``metrics``,
            ``format``, ``seeds``, ``policy``, ``controls``, ``token_budget``.

    Raises:
        AuditorError: Something in the plan cannot be used, or the folder cannot be written.
    """
    folder, watcher = Path(out), progress or SilentProgress()
    parts = {
        "unlearned": unlearned,
        "original": original,
        "retrained": retrained,
        "reference": reference,
        "forget": forget,
        "retain": retain,
        "holdout": holdout,
        "attacks": attacks,
    }
    given = {name: part for name, part in parts.items() if part is not None and part != ()}
    remove_certificates(folder)  # an older one must not outlive a failed run
    chosen = plan_of(source, given | settings, folder)
    wanted = [REPORTS.get(name) for name in dict.fromkeys(reports)]
    runner = executor_named(executor, workers, address=address, gpus=gpus)
    make_folder(folder)
    held = open_store(folder, store)
    redact = redact or chosen.data.hazardous
    prepared = prepare(chosen, held, watcher)
    if not even_if_it_does_not_fit and address is None:  # what a cluster has is not known here
        shapes = shapes_of(prepared)
        here = free_memory(chosen.original, folder)
        check_fits(capacity(prepared, here, shapes, least_alone=True), prepared, held)
    prepared = compare_formats(prepared, held, runner, watcher)
    if within is not None:
        prepared = _within(prepared, held, within, folder)
    certificate = issue(
        prepared,
        held,
        runner,
        watcher,
        folder=folder,
        command=repeating("audit", store, redact=redact, within=within),
        reports=wanted,
        redact=redact,
        controls=run_controls if prepared.plan.runs_controls else None,
    )
    return AuditResult(certificate, held, folder)


def _within(prepared: Prepared, store: EvidenceStore, seconds: float, folder: Path) -> Prepared:
    """Leave out what a time does not allow on this machine."""
    estimates = estimate(prepared, store, _probed(prepared, folder))
    if prepared.plan.runs_controls:
        seconds -= estimate_controls(prepared, estimates.capacity).seconds
    return within_time(prepared, estimates, seconds)


def measure(
    *,
    unlearned: AuditedModel,
    original: AuditedModel,
    retrained: AuditedModel | Sequence[AuditedModel],
    forget: Sequence[Fact],
    retain: Sequence[Fact] = (),
    holdout: Sequence[Fact] = (),
    attacks: Sequence[Attackable] = (AS_IS,),
    metrics: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    policy: Policy | None = None,
) -> Measurement:
    """Attack loaded models alike, and gather figures without a certificate.

    Args:
        unlearned: The model under audit.
        original: The model before unlearning.
        retrained: Models that never saw the forget set.
        forget: Facts that must be gone.
        retain: Facts that must stay.
        holdout: Facts that no model has seen.
        attacks: Attacks by name, as classes, or with their parameters; without attack is always
            measured, too.
        metrics: Names of the metrics, by default those of the models' kind.
        seeds: Seeds of the attacks that depend on one.
        policy: Policy whose margins the figures are of.

    Raises:
        AuditorError: An attack is not for such models.
        UnavailableError: An attack cannot run here.
        MeasurementError: Something could not be measured.
    """
    others = [retrained] if isinstance(retrained, AuditedModel) else list(retrained)
    arms = {Arm.UNLEARNED: unlearned, Arm.ORIGINAL: original}
    arms |= {Arm.retrained(number): model for number, model in enumerate(others)}
    sets = FactSets(forget=tuple(forget), retain=tuple(retain), holdout=tuple(holdout))
    kind = kind_named(unlearned.spec.kind)
    asked = tuple(metrics or dict.fromkeys((*kind.default_metrics, *kind.default_deciding)))
    deciding = tuple(dict.fromkeys((asked[0], *(m for m in kind.default_deciding if m in asked))))
    chosen = {a.id: a for a in (attack_with(attack, {}) for attack in (AS_IS, *attacks))}
    evidence = [
        entry
        for attack in chosen.values()
        for seed in (seeds if attack.seeded else (0,))
        for entry in _attacked(attack, arms, sets, asked, seed)
    ]
    table = EvidenceTable(evidence)
    gathered = [
        measured_evidence(
            table,
            attack.id,
            Role.ADVISORY if attack.decides else Role.REPORTED,
            (attack.metric,) if attack.metric else deciding,
            {},
            list(arms),
            sets.forget,
            baseline=attack.name == AS_IS,
            reported=() if attack.metric else [m for m in asked if m not in deciding],
        )
        for attack in chosen.values()
    ]
    rules = policy or Policy()
    decision = decide(gathered, None, margins(rules), rules.scope)
    return Measurement(evidence, decision.attacks)


def plan_of(source: PlanLike | None, parts: Mapping[str, Any], folder: Path) -> AuditPlan:
    """Make a plan of its file or content, or of its parts.

    Args:
        source: A plan, its file, or its content.
        parts: Parts of a plan, as `audit` takes them.
        folder: Where facts that were given as such are written down.

    Raises:
        AuditorError: It does not describe a plan, or parts stand beside a whole one.
    """
    given = dict(parts)
    if source is not None:
        if given:
            raise AuditorError(
                f"{', '.join(given)} cannot stand beside a whole plan; change the plan, so that "
                "it stays the record of what was run."
            )
        if isinstance(source, AuditPlan):
            return source
        if isinstance(source, Mapping):
            return check_plan(source, "the plan", Path.cwd())
        file = Path(source)
        return check_plan(read_plan(file), str(file), file.parent.resolve())
    facts = {name: _source(given.pop(name), name, folder) for name in _SETS if name in given}
    data = dict(given.pop("data", {})) | facts
    content = {name: _plain(name, part) for name, part in given.items()}
    return check_plan(content | {"data": data}, "the audit", Path.cwd())


def _plain(name: str, part: Any) -> Any:
    """A part of a plan as plain data."""
    if name in ("unlearned", "original"):
        return _spec(part)
    if name in ("retrained", "reference"):
        several = isinstance(part, Sequence) and not isinstance(part, str)
        return [_spec(model) for model in (part if several else [part])]
    if name == "attacks":
        return [_request(attack) for attack in part]
    return part


def _spec(model: Modelled) -> Any:
    """Return a plan's description of a model."""
    if isinstance(model, AuditedModel):
        if model.in_memory:
            raise AuditorError(
                f"the model {model.spec.path!r} was handed over loaded: its files were not "
                "hashed, so there can be no certificate. Use `auditor.measure`, or save it and "
                "give its directory."
            )
        model = model.spec
    if isinstance(model, ModelSpec):
        return model.model_dump(mode="json")
    return dict(model) if isinstance(model, Mapping) else str(model)


def _request(attack: Attackable | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(attack, Mapping):
        return attack
    if isinstance(attack, str):
        return {"attack": attack}
    if isinstance(attack, type):
        return {"attack": attack.name}
    return {"attack": attack.name, "parameters": attack.parameters.model_dump(mode="json")}


def _source(facts: Known, name: str, folder: Path) -> Any:
    """Return what a plan says of a set of facts.

    Facts themselves are written to a file first.
    """
    if isinstance(facts, str | Path):
        return str(facts)
    if isinstance(facts, Mapping):
        return dict(facts)
    file = folder / "facts" / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(fact.model_dump(mode="json"), ensure_ascii=False) for fact in facts)
    write_whole(file, "".join(f"{line}\n" for line in lines).encode())
    return str(file.resolve())


def _attacked(
    attack: AnyAttack,
    arms: Mapping[Arm, AuditedModel],
    sets: FactSets,
    metrics: Sequence[str],
    seed: int,
) -> Iterable[Evidence]:
    """Yield the evidence of one attack on every arm.

    It has one seed, and its search comes first.
    """
    found = {}
    if attack.searches:
        found = {
            arm: record_of(attack, model, sets, metrics=metrics, seed=seed, searching=True)
            for arm, model in arms.items()
        }
    for arm, model in arms.items():
        pool = [Finding(owner, owner == arm, record) for owner, record in found.items()]
        record = record_of(
            attack,
            model,
            sets,
            metrics=metrics,
            seed=seed,
            pool=pool,
            original=arms.get(Arm.ORIGINAL),
        )
        yield Evidence(attack.id, arm, seed, tabulate(record.rows))


def _pilot(
    prepared: Prepared, store: EvidenceStore, executor: Executor, progress: Progress
) -> FactsNeeded | None:
    """Return how many facts a PASS needs.

    For this every model but the unlearned one is asked, without attack.
    """
    known = [arm for arm in prepared.arms if arm.model != Arm.UNLEARNED]
    pilot = prepared.only([v for v in prepared.variants if v.attack.name == AS_IS])
    outcome = run_audit(pilot, store, executor, progress, known)
    for run in outcome.runs:
        if run.evidence.reason is not None and not run.evidence.jobs:
            raise AuditorError(
                f"the pilot failed: {sentence(run.evidence.reason)} (`--no-pilot`, or "
                "`pilot=False`, leaves it out)."
            )
    mandatory = sum(v.role is Role.MANDATORY for v in prepared.variants)
    return power(audited_inputs(outcome), attacks=mandatory)


def _known(reading: ReadingPart | AssessedReading) -> dict[str, float | str | None]:
    """Return the figures of an attack that tables show.

    They are those of the metric that shows most, and None where the attack has none.
    """
    figures = reading.figures
    known: dict[str, float | str | None] = {"metric": reading.metric}
    known |= {name: getattr(figures, name, None) for name in _FIGURES}
    leak = figures.leak if figures else None
    return known | {name: getattr(leak, name, None) for name in ("leaked", "eligible")}


def _html(table: pd.DataFrame) -> str:
    return str(table.to_html(index=False, float_format="{:.3f}".format, na_rep=""))
