"""`auditor certify`: decide on imported logs, and write a certificate."""

import json
from pathlib import Path

import click

from auditor.cli.completion import among, forms, policies
from auditor.cli.console import print_summary
from auditor.cli.options import json_option, out_option, quiet_option, store_option
from auditor.cli.progress import chosen_progress


@click.command("certify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    metavar="POLICY",
    shell_complete=among(policies, or_file=True),
    help="What decides: a file, or one of `auditor policy list`, such as `logs`. One that demands "
    "attacks, or models, is INCONCLUSIVE at best.",
)
@out_option
@store_option
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="NAME",
    shell_complete=among(forms),
    help="A further report beside the HTML page (`auditor render --list`); may be repeated.",
)
@click.option("--redact", is_flag=True, help="Put keyed digests in the place of the facts' texts.")
@quiet_option
@json_option
def command(
    folder: Path,
    policy: str | None,
    out: Path,
    store: str | Path | None,
    reports: tuple[str, ...],
    redact: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Decide on imported logs, and write a certificate.

    FOLDER is what `auditor import` wrote, or a plan of logs. The certificate is verified, gated,
    rendered and compared like any other, and says that no file of a model was seen.
    """
    from auditor.api.logs import certify

    certificate = certify(
        folder,
        policy=policy,
        out=out,
        store=store,
        reports=("html", *reports),
        redact=redact,
        progress=chosen_progress(quiet),
    )
    if as_json:
        click.echo(json.dumps(certificate.document))
    else:
        print_summary(certificate, out)
    return certificate.verdict.exit_code
