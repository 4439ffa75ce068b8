"""`auditor export`: the evidence of a certificate as a table.

It is for a notebook or a spreadsheet.
"""

import json
from pathlib import Path

import click

from auditor.cli.console import OUT, next_step
from auditor.cli.options import json_option, place
from auditor.core.errors import AuditorError


@click.command("export")
@click.argument("certificate_file", metavar="CERT", type=Path)
@click.option(
    "--as",
    "form",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Format of the table.",
)
@click.option(
    "--store",
    "--evidence",
    "evidence",
    type=place,
    help="Evidence store of the audit.  [default: the folder evidence beside the certificate or "
    "one folder up]",
)
@click.option("--answers", is_flag=True, help="Add what the models said, where they were asked to.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: CERT with the ending .evidence.csv or .evidence.parquet]",
)
@json_option
def command(
    certificate_file: Path,
    form: str,
    evidence: str | Path | None,
    answers: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write a certificate's evidence as one flat table.

    Each row is the knowledge of one fact by one metric, as one model showed it under one attack:
    attack, variant, arm, seed, set, fact, entity, metric, k. No signature is checked and nothing
    is worked out again: `auditor verify` does that.
    """
    from pyarrow import csv, parquet

    from auditor.api.certificates import load_certificate, open_evidence
    from auditor.verification.evidence_rows import evidence_rows

    certificate = load_certificate(certificate_file)
    store = open_evidence(certificate_file, evidence)
    target = out or certificate_file.with_suffix(f".evidence.{form}")
    if target.exists() and target.samefile(certificate_file):
        raise AuditorError(
            f"{target} is the certificate itself, which is not written over; choose another place "
            "with --out."
        )
    rows = evidence_rows(certificate, store, answers=answers)
    if form == "csv":
        csv.write_csv(rows, target)
    else:
        parquet.write_table(rows, target)
    if as_json:
        click.echo(json.dumps({"file": str(target), "rows": rows.num_rows}))
        return
    OUT.print(f"{target}: {rows.num_rows:,} rows", markup=False, highlight=False)
    next_step("read it with pandas or DuckDB; docs/python.md names the columns", beside=True)
