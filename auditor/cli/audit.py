"""`auditor audit`: run a plan, write its certificate."""

import json
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from auditor.certificate.files import write_certificate
from auditor.certificate.schema import Certificate
from auditor.cli.console import OUT, print_summary
from auditor.cli.options import (
    json_option,
    out_option,
    plan_from,
    plan_options,
    quiet_option,
    store_option,
)
from auditor.cli.progress import chosen_progress
from auditor.errors import AuditorError
from auditor.progress import Progress

RESOLVED_PLAN = "plan.resolved.yaml"
"""The plan as it was run, with whole paths; the certificate's command names it."""


@click.command("audit")
@plan_options
@out_option
@store_option
@quiet_option
@json_option
def command(out: Path, store: Path | None, quiet: bool, as_json: bool, **options: Any) -> int:
    """Audit a model: attack all arms alike, decide, write the certificate.

    Give a plan file, or the models and facts as flags. Interrupted audits go on where they
    stopped when the same command is run again.
    """
    plan = plan_from(options)
    certificate = audit(plan, out, store or out / "evidence", chosen_progress(quiet))
    if as_json:
        click.echo(json.dumps(certificate.model_dump(mode="json")))
    else:
        print_summary(certificate)
        OUT.print(f"certificate: {out / 'certificate.html'} and {out / 'certificate.json'}")
    return certificate.verdict.exit_code


def audit(plan: Any, out: Path, store_root: Path, progress: Progress) -> Certificate:
    """Run an audit and write ``certificate.json``, ``certificate.html`` and ``plan.resolved.yaml``.

    Raises:
        AuditorError: something in the plan cannot be used, or the folder cannot be written.
    """
    from auditor.certificate.assembly import assemble
    from auditor.certificate.checks import NOT_PLANTED
    from auditor.controls.positive import run_controls
    from auditor.engine.audit import run_audit
    from auditor.engine.execution import LocalExecutor
    from auditor.engine.preparation import prepare
    from auditor.evidence.store import EvidenceStore
    from auditor.report import REPORTS

    page = REPORTS.get("html")
    try:
        out.mkdir(parents=True, exist_ok=True)
        plan_text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False)
        (out / RESOLVED_PLAN).write_text(plan_text, encoding="utf-8")
        for name in ("certificate.json", "certificate.html"):
            (out / name).unlink(missing_ok=True)  # an older verdict must not outlive a failed run
    except (FileExistsError, PermissionError) as error:
        raise AuditorError(f"the folder {out} cannot be written: {error.strerror}.") from error
    store = EvidenceStore(store_root)
    prepared = prepare(plan, store, progress)
    outcome = run_audit(prepared, store, LocalExecutor(), progress)
    controls = NOT_PLANTED
    if plan.runs_controls:
        began = time.monotonic()
        controls = run_controls(outcome, store, LocalExecutor(), progress)
        spent = outcome.wall_seconds + time.monotonic() - began
        outcome = replace(outcome, wall_seconds=spent)
    again = ["auditor", "audit", str(out / RESOLVED_PLAN), "--out", str(out)]
    if store_root != out / "evidence":
        again += ["--store", str(store_root)]
    certificate = assemble(outcome, shlex.join(again), controls)
    write_certificate(certificate, out / "certificate.json")
    (out / "certificate.html").write_text(page.render(certificate, None), encoding="utf-8")
    return certificate
