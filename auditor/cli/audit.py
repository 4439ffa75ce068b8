"""`auditor audit`: run a plan, write its certificate."""

import json
from pathlib import Path
from typing import Any

import click

from auditor.cli.completion import among, forms
from auditor.cli.console import print_summary
from auditor.cli.options import (
    capacity_options,
    default_store,
    executor_options,
    json_option,
    out_option,
    quiet_option,
    store_option,
)
from auditor.cli.plan_options import plan_from, plan_options
from auditor.cli.progress import chosen_progress
from auditor.report import remove_certificates


@click.command("audit")
@plan_options
@out_option
@store_option
@executor_options
@capacity_options
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="NAME",
    shell_complete=among(forms),
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
    store: str | Path | None,
    executor: str,
    workers: int | None,
    address: str | None,
    gpus: int | None,
    within: float | None,
    even_if_it_does_not_fit: bool,
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
    remove_certificates(out)  # an older one must not outlive a plan that cannot be read
    plan = plan_from(options)  # its mistakes are told before anything heavy is imported
    from auditor.api.auditing import audit

    certificate = audit(
        plan,
        out=out,
        store=store or default_store(out),
        reports=("html", *reports),
        redact=redact,
        executor=executor,
        workers=workers,
        address=address,
        gpus=gpus,
        within=within,
        even_if_it_does_not_fit=even_if_it_does_not_fit,
        progress=chosen_progress(quiet),
    ).certificate
    if as_json:
        click.echo(json.dumps(certificate.document))
    else:
        print_summary(certificate, out)
    return certificate.verdict.exit_code
