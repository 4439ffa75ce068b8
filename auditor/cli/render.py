"""`auditor render`: a certificate for people, from its JSON."""

from pathlib import Path

import click

from auditor.certificate.files import read_certificate
from auditor.cli.console import OUT
from auditor.report import REPORTS


@click.command("render")
@click.argument("certificate_file", metavar="CERT.json", type=Path)
@click.option("--html", "form", flag_value="html", default=True, help="As a web page.")
@click.option("--out", type=Path, help="File to write.  [default: beside the certificate]")
def command(certificate_file: Path, form: str, out: Path | None) -> None:
    """Render a certificate again, without any model."""
    certificate = read_certificate(certificate_file)
    report = REPORTS.get(form)
    target = out or certificate_file.with_suffix(report.suffix)
    target.write_text(report.render(certificate, None), encoding="utf-8")
    OUT.print(str(target))
