"""The certificate as one HTML file: no script, no network, everything escaped."""

from auditor.certificate.schema import Certificate
from auditor.report import REPORTS, Report, Signatures
from reports.matrix import attack_views, tally
from reports.page import environment, stylesheet
from reports.plots import plots


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns the page. Equal certificates give equal text, byte for byte."""
    rows = attack_views(certificate)
    return (
        environment()
        .get_template("certificate.html.j2")
        .render(
            c=certificate,
            rows=rows,
            tally=tally(rows),
            plots=plots(certificate, rows),
            stylesheet=stylesheet(),
        )
    )


REPORTS.register("html")(Report(render, ".html", "One page for a reviewer: figures and all."))
