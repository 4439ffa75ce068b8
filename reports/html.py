"""The certificate as one HTML file: no script, no network, everything escaped."""

from auditor.certificate.schema import Certificate
from auditor.report import REPORTS
from reports.matrix import attack_views, tally
from reports.page import environment, stylesheet
from reports.plots import plots


@REPORTS.register("html")
def render(certificate: Certificate) -> str:
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
