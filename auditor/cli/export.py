"""`auditor export`: evidence as a table, or the prompts found.

They are for a notebook or a spreadsheet, and to test other models with.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor.cli.completion import folders
from auditor.cli.console import OUT, next_step
from auditor.cli.options import FILE, json_option, place
from auditor.core.errors import AuditorError
from auditor.core.reading import read_regular

if TYPE_CHECKING:  # the command line starts without them
    from auditor.certificate.schema import Certificate
    from auditor.store.base import EvidenceStore


@click.command("export")
@click.argument("certificate_file", metavar="CERT", type=FILE)
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
    shell_complete=folders,
    help="Evidence store of the audit.  [default: the folder evidence beside the certificate or "
    "one folder up]",
)
@click.option("--answers", is_flag=True, help="Add what the models said, where they were asked to.")
@click.option(
    "--prompts",
    is_flag=True,
    help="Write the prompts that searches found instead, as JSON Lines.",
)
@click.option(
    "--redaction-key",
    "key_file",
    metavar="FILE",
    type=FILE,
    help="With --prompts: put digests by this key in place of all texts.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: CERT with the ending .evidence.csv, .evidence.parquet or "
    ".prompts.jsonl]",
)
@json_option
def command(
    certificate_file: Path,
    form: str,
    evidence: str | Path | None,
    answers: bool,
    prompts: bool,
    key_file: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write a certificate's evidence as a table, or found prompts.

    Each row is the knowledge of one fact by one metric, as one model showed it under one attack:
    attack, variant, arm, seed, set, fact, entity, metric, k. With --prompts it is the prompts that
    searches found on each arm. No signature is checked and nothing is worked out again: `auditor
    verify` does that.
    """
    from auditor.api.certificates import load_certificate, open_evidence

    if key_file is not None and not prompts:
        raise AuditorError(
            "--redaction-key is for --prompts; the table of evidence has no text but names, and "
            "what --answers adds."
        )
    certificate = load_certificate(certificate_file)
    store = open_evidence(certificate_file, evidence)
    target = out or certificate_file.with_suffix(
        ".prompts.jsonl" if prompts else f".evidence.{form}"
    )
    if target.exists() and target.samefile(certificate_file):
        raise AuditorError(
            f"{target} is the certificate itself, which is not written over; choose another place "
            "with --out."
        )
    if prompts:
        count = _write_prompts(certificate, store, key_file, target)
        way = "ask another model with them; `{question}` in one stands for a fact's own prompt"
    else:
        count = _write_table(certificate, store, form, target, answers=answers)
        way = "read it with pandas or DuckDB; docs/python.md names the columns"
    if as_json:
        click.echo(json.dumps({"file": str(target), "rows": count}))
        return
    OUT.print(f"{target}: {count:,} rows", markup=False, highlight=False)
    next_step(way, beside=True)


def _write_table(
    certificate: "Certificate", store: "EvidenceStore", form: str, target: Path, *, answers: bool
) -> int:
    """Write the evidence and return its rows."""
    from pyarrow import csv, parquet

    from auditor.verification.evidence_rows import evidence_rows

    rows = evidence_rows(certificate, store, answers=answers)
    if form == "csv":
        csv.write_csv(rows, target)
    else:
        parquet.write_table(rows, target)
    return int(rows.num_rows)


def _write_prompts(
    certificate: "Certificate", store: "EvidenceStore", key_file: Path | None, target: Path
) -> int:
    """Write what searches found and return how many prompts there are.

    Raises:
        AuditorError: no search found a text, or the key cannot be read or is too short.
    """
    from auditor.verification.found_prompts import found_prompts

    found = found_prompts(certificate, store)
    if not found:
        raise AuditorError(
            "no attack of this certificate searched for a text; prompting/gcg and "
            "prompting/attacker-model do."
        )
    if key_file is not None:
        key = _read_key(key_file)
        found = tuple(each.redacted(key) for each in found)
    lines = [f"{each.model_dump_json(exclude_none=True)}\n" for each in found]
    target.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _read_key(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise AuditorError(f"the redaction key {path} cannot be read: {error.strerror}.") from error
