"""The certificate as one HTML file: no script but ours, no network, everything escaped."""

from auditor.certificate.schema import Certificate
from auditor.report import REPORTS, Report, Signatures
from reports.exhibits import gallery
from reports.matrix import attack_views, tally
from reports.page import environment, running_head, script, stylesheet
from reports.plots import plots
from reports.signature_words import signature_state


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns the page. Equal arguments give equal text, byte for byte."""
    rows = attack_views(certificate)
    return (
        environment()
        .get_template("certificate.html.j2")
        .render(
            c=certificate,
            rows=rows,
            tally=tally(rows),
            plots=plots(certificate, rows),
            gallery=gallery(certificate),
            signature=signature_state(signatures),
            stylesheet=stylesheet(),
            running_head=running_head(certificate),
            script=script(),
        )
    )


REPORTS.register("html")(Report(render, ".html", "One page for a reviewer: figures and all."))
