"""Issue of a prepared audit's certificate.

It needs no torch by itself.
"""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from auditor.certificate.build import NO_CONTROLS, ControlResults, build_certificate
from auditor.certificate.files import write_certificate
from auditor.certificate.redaction import redact as redacted
from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.core.files import write_whole
from auditor.core.progress import Progress
from auditor.engine.audit import AuditOutcome, run_audit
from auditor.engine.executors.base import Executor
from auditor.engine.preparation import Prepared
from auditor.engine.registration import earlier_audits, history_warnings, register
from auditor.engine.weight_comparison import compare_weights
from auditor.report import Report
from auditor.store.base import EvidenceStore
from auditor.store.places import open_place

RESOLVED_PLAN = "plan.resolved.yaml"
"""File of the plan as it was run, with whole paths; the certificate's command names it."""
DEFAULT_FOLDER = Path("audit-result")
"""Folder of an audit that names none."""

Controls = Callable[[AuditOutcome, EvidenceStore, Executor, Progress], ControlResults]
"""Function that makes positive controls, and puts the mandatory attacks to them."""


def issue(
    prepared: Prepared,
    store: EvidenceStore,
    executor: Executor,
    progress: Progress,
    *,
    folder: Path,
    command: str,
    reports: Sequence[Report],
    redact: bool,
    controls: Controls | None,
) -> Certificate:
    """Run an audit, decide, and write certificate and reports.

    Args:
        prepared: The plan and its checked inputs.
        store: Where the evidence is kept.
        executor: Runs the jobs.
        progress: Is told how far the audit has come.
        folder: Where certificate, plan and reports are written.
        command: The command line that repeats the audit.
        reports: Forms of report that are written beside the certificate.
        redact: Put keyed digests in the place of the facts' texts.
        controls: Makes the positive controls; None where there are none.
    """
    resolved = yaml.safe_dump(prepared.plan.model_dump(mode="json"), sort_keys=False)
    write_whole(folder / RESOLVED_PLAN, resolved.encode())
    ledger = register(prepared, store)
    weights = compare_weights(prepared, store, progress)
    outcome = run_audit(prepared, store, executor, progress)
    found = NO_CONTROLS
    if controls is not None:
        began = time.monotonic()
        found = controls(outcome, store, executor, progress)
        spent = outcome.wall_seconds + time.monotonic() - began
        outcome = replace(outcome, wall_seconds=spent)
    others = ledger.decide()
    earlier = earlier_audits(prepared, store)
    past = history_warnings(prepared.sets, store, [audit.facts for audit in earlier])
    warned = (*prepared.warnings, *past)
    outcome = replace(outcome, prepared=replace(prepared, warnings=list(warned)))
    certificate = build_certificate(outcome, command, found, others, earlier, weights)
    if redact:
        certificate = redacted(certificate, store.redaction_key())
    write_certificate(certificate, folder / "certificate.json")
    ledger.finish(others)
    for report in reports:
        target = folder / f"certificate{report.suffix}"
        write_whole(target, report.written(certificate, None))
    return certificate


def open_store(folder: Path, store: str | Path | None) -> EvidenceStore:
    """Open the store of an audit.

    By default it is the folder ``evidence`` of the audit's own.
    """
    return open_place(store if store is not None else folder / "evidence")


def make_folder(folder: Path) -> None:
    """Make the folder of an audit.

    Raises:
        AuditorError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, PermissionError) as error:
        raise AuditorError(f"the folder {folder} cannot be written: {error.strerror}.") from error


def repeating(
    name: str,
    store: str | Path | None,
    *,
    redact: bool,
    within: float | None = None,
) -> str:
    """Return the command line that repeats an audit.

    It is for a shell in the audit's folder, and names no place of this machine.

    Args:
        name: Name of the command.
        store: Place of the evidence, where the user named one; it is kept if it is a URL.
        redact: Whether the certificate is redacted.
        within: Seconds in which it was to end, if they were limited.
    """
    again = ["auditor", name, RESOLVED_PLAN, "--out", "."]
    if store is not None and "://" in str(store):
        again += ["--store", str(store)]
    if within is not None:
        again += ["--within", f"{within:.12g}s"]
    if redact:
        again.append("--redact")
    return shlex.join(again)
