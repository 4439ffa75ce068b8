"""`auditor render`: a certificate in other forms, from its file alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor.certificate.files import write_certificate
from auditor.certificate.redaction import redact
from auditor.certificate.schema import Certificate
from auditor.cli import completion
from auditor.cli.completion import among
from auditor.cli.console import ERR, OUT, next_step
from auditor.cli.evidence import identity_of, key_options
from auditor.cli.options import FILE, json_option
from auditor.core.errors import AuditorError
from auditor.core.files import write_whole
from auditor.report import REPORTS, Signatures

if TYPE_CHECKING:
    from auditor.signing.keyless import Identity

ITSELF = "json"
"""Form that is the certificate itself, as a redacted one is passed on and signed."""


@click.command("render")
@click.argument("certificate_file", metavar="CERT", required=False, type=FILE)
@click.option(
    "--as",
    "forms",
    metavar="FORM",
    multiple=True,
    shell_complete=among(lambda: (ITSELF, *completion.forms())),
    help="A form; may be given again.",
)
@click.option("--html", is_flag=True, help="As a web page; the same as --as html.  [default]")
@click.option(
    "--out",
    type=FILE,
    help="File to write; a folder, if there is one or there are several forms.  "
    "[default: beside the certificate]",
)
@click.option("--redact", "hide", is_flag=True, help="Put keyed digests in place of all texts.")
@click.option("--redaction-key", "key_file", metavar="FILE", type=FILE, help="Key of the digests.")
@key_options
@click.option("--list", "listed", is_flag=True, help="List the forms.")
@json_option
def command(
    certificate_file: Path | None,
    forms: tuple[str, ...],
    html: bool,
    out: Path | None,
    hide: bool,
    key_file: Path | None,
    keys: tuple[Path, ...],
    threshold: int,
    identity: str | None,
    issuer: str | None,
    trust_config: Path | None,
    listed: bool,
    as_json: bool,
) -> None:
    """Write a certificate as a web page or in other forms.

    No model is needed. CERT is a certificate, a signed envelope or a Sigstore bundle. With --key or
    --identity its signatures are checked first, and nothing is written if they do not hold.
    """
    if listed:
        _print_forms(as_json)
        return
    if certificate_file is None:
        raise click.UsageError("Missing argument 'CERT'.")
    if hide != (key_file is not None):
        raise AuditorError(
            "--redact and --redaction-key belong together; make a key with "
            "`openssl rand -out redaction.key 32` and keep it where the facts are kept."
        )
    certificate, signatures = _read(
        certificate_file, keys, threshold, identity_of(identity, issuer, trust_config)
    )
    chosen = tuple(dict.fromkeys((*forms, *(["html"] if html or not forms else []))))
    suffixes = [_suffix(form) for form in chosen]
    if key_file is not None:
        certificate = redact(certificate, key_file.read_bytes())
        if signatures is not None:
            ERR.print(
                "The signatures are of the certificate as it was, not of the redacted one; render "
                "it with `--as json` and sign that.",
                highlight=False,
            )
        signatures = None
    targets = _targets(certificate_file, out, suffixes, hide)
    written = {}
    for form, target in zip(chosen, targets, strict=True):
        _write(form, certificate, signatures, target)
        written[form] = str(target)
    if as_json:
        about = {"certificate_id": certificate.certificate_id, "redaction": certificate.redaction}
        click.echo(json.dumps(about | {"files": written}))
        return
    for path in written.values():
        OUT.print(path, markup=False, highlight=False)
    next_step("open or pass on what was written; the JSON file is the certificate", beside=True)


def _print_forms(as_json: bool) -> None:
    described = [
        {"name": ITSELF, "suffix": ".json", "summary": "The certificate itself, as redacted."},
        *(
            {"name": name, "suffix": report.suffix, "summary": report.summary}
            for name, report in REPORTS
        ),
    ]
    if as_json:
        click.echo(json.dumps(described))
        return
    for form in described:
        OUT.print(
            f"{form['name']:<12} {form['suffix']:<18} {form['summary']}",
            markup=False,
            highlight=False,
        )
    next_step("auditor render CERT --as FORM")


def _read(
    path: Path, keys: Sequence[Path], threshold: int, identity: "Identity | None"
) -> tuple[Certificate, Signatures | None]:
    """The certificate, and what is known of its signatures.

    Raises:
        AuditorError: there is no such file, it is no certificate, or its signatures do not hold;
            each with an exit code of its own.
    """
    from auditor.api.certificates import load_signed

    if not path.is_file():
        raise AuditorError(f"there is no file {path} to render.")
    if threshold > 1 and not keys:
        raise AuditorError("--threshold counts the signatures of keys that you trust; give --key.")
    signed = load_signed(path, keys, threshold, identity)
    if signed.signers is not None:
        return signed.certificate, Signatures(signed.signers, checked=True)
    claimed = signed.claimed
    return signed.certificate, None if claimed is None else Signatures(claimed, checked=False)


def _suffix(form: str) -> str:
    return ".json" if form == ITSELF else REPORTS.get(form).suffix


def _targets(source: Path, out: Path | None, suffixes: Sequence[str], hide: bool) -> list[Path]:
    """The files to write, none of which is the certificate itself.

    Raises:
        AuditorError: several forms go to one file, or one of them over the certificate.
    """
    stem = source.stem + (".redacted" if hide else "")
    if out is not None and len(suffixes) == 1 and not out.is_dir():
        targets = [out]
    else:
        folder = out or source.parent
        if out is not None and not out.is_dir():
            if out.exists():
                raise AuditorError(f"--out {out} is a file; several forms need a folder.")
            out.mkdir(parents=True)
        targets = [folder / f"{stem}{suffix}" for suffix in suffixes]
    if len(set(targets)) < len(targets):
        raise AuditorError("two of the forms have the same suffix; render them one at a time.")
    for target in targets:
        if target.exists() and target.samefile(source):
            raise AuditorError(
                f"{target} is the certificate itself, which is not written over; choose another "
                "place with --out."
            )
    return targets


def _write(
    form: str, certificate: Certificate, signatures: Signatures | None, target: Path
) -> None:
    if form == ITSELF:
        write_certificate(certificate, target)
    else:
        write_whole(target, REPORTS.get(form).written(certificate, signatures))
