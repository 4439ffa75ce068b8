"""`auditor audit`: run a plan, write its certificate."""

import json
import shlex
import time
from collections.abc import Sequence
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
from auditor.core.errors import AuditorError
from auditor.core.progress import Progress

RESOLVED_PLAN = "plan.resolved.yaml"
"""The plan as it was run, with whole paths; the certificate's command names it."""


@click.command("audit")
@plan_options
@out_option
@store_option
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="NAME",
    help="A further report beside the HTML page (`auditor render --list`); may be repeated.",
)
@click.option(
    "--redact",
    is_flag=True,
    help="Put keyed digests in the place of the facts' texts, for forget sets that may not travel.",
)
@quiet_option
@json_option
def command(
    out: Path,
    store: Path | None,
    reports: tuple[str, ...],
    redact: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Attack all models alike, decide, and write a certificate.

    Give a plan file, or the models and facts as flags. Interrupted audits go on where they
    stopped when the same command is run again.
    """
    plan = plan_from(options)
    certificate = audit(
        plan,
        out,
        store or out / "evidence",
        chosen_progress(quiet),
        reports=("html", *reports),
        redacted=redact,
    )
    if as_json:
        click.echo(json.dumps(certificate.document))
    else:
        print_summary(certificate)
        OUT.print(f"certificate: {out / 'certificate.html'} and {out / 'certificate.json'}")
    return certificate.verdict.exit_code


def audit(
    plan: Any,
    out: Path,
    store_root: Path,
    progress: Progress,
    *,
    reports: Sequence[str] = ("html",),
    redacted: bool = False,
) -> Certificate:
    """Run an audit and write ``certificate.json``, its reports and ``plan.resolved.yaml``.

    Args:
        plan: what is audited and how.
        out: folder of the certificate.
        store_root: folder of the evidence.
        progress: is told how far it has come.
        reports: names of the reports that are written beside the certificate.
        redacted: put keyed digests in the place of the facts' texts.

    Raises:
        AuditorError: something in the plan cannot be used, or the folder cannot be written.
    """
    from auditor.certificate.build import NO_CONTROLS, build_certificate
    from auditor.certificate.redaction import redact
    from auditor.engine.audit import run_audit
    from auditor.engine.executors.local import LocalExecutor
    from auditor.engine.preparation import prepare
    from auditor.engine.registration import register
    from auditor.evidence.folder_store import FolderStore
    from auditor.positive_controls.runner import run_controls
    from auditor.report import REPORTS

    wanted = [REPORTS.get(name) for name in dict.fromkeys(reports)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for suffix in (".json", ".dsse.json", *(report.suffix for report in wanted)):
            # an older verdict must not outlive a failed run
            (out / f"certificate{suffix}").unlink(missing_ok=True)
    except (FileExistsError, PermissionError) as error:
        raise AuditorError(f"the folder {out} cannot be written: {error.strerror}.") from error
    store = FolderStore(store_root)
    prepared = prepare(plan, store, progress)
    plan_text = yaml.safe_dump(prepared.plan.model_dump(mode="json"), sort_keys=False)
    (out / RESOLVED_PLAN).write_text(plan_text, encoding="utf-8")
    ledger = register(prepared, store)
    outcome = run_audit(prepared, store, LocalExecutor(), progress)
    controls = NO_CONTROLS
    if plan.runs_controls:
        began = time.monotonic()
        controls = run_controls(outcome, store, LocalExecutor(), progress)
        spent = outcome.wall_seconds + time.monotonic() - began
        outcome = replace(outcome, wall_seconds=spent)
    again = ["auditor", "audit", str(out / RESOLVED_PLAN), "--out", str(out)]
    if store_root != out / "evidence":
        again += ["--store", str(store_root)]
    if redacted:
        again.append("--redact")
    others = ledger.decide()
    certificate = build_certificate(outcome, shlex.join(again), controls, others)
    if redacted:
        certificate = redact(certificate, store.redaction_key())
    write_certificate(certificate, out / "certificate.json")
    ledger.finish(others)
    for report in wanted:
        target = out / f"certificate{report.suffix}"
        target.write_text(report.render(certificate, None), encoding="utf-8")
    return certificate
