"""Certificate as one HTML file.

The only scripts are our own; the page needs no network, and all text in it is escaped.
"""

from auditor.certificate.schema import Certificate
from auditor.report import REPORTS, Report, Signatures
from reports.audit_checks import audit_checks
from reports.image_examples import gallery
from reports.matrix import attack_views, tally
from reports.messages import scope_statement
from reports.page import environment, running_head, script, stylesheet
from reports.plots import plots
from reports.signatures import signature_state
from reports.threats import threats


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Return the page. Equal arguments give equal text, byte for byte."""
    return (
        environment()
        .get_template("certificate.html.j2")
        .render(
            plots=plots(certificate, attack_views(certificate)), **content(certificate, signatures)
        )
    )


def content(certificate: Certificate, signatures: Signatures | None = None) -> dict[str, object]:
    """Return what the templates of the page show, but for the figures."""
    rows = attack_views(certificate)
    return {
        "c": certificate,
        "rows": rows,
        "tally": tally(rows),
        "gallery": gallery(certificate),
        "statement": scope_statement(certificate.scope),
        "threats": threats(certificate),
        "checks": audit_checks(certificate),
        "signature": signature_state(signatures),
        "stylesheet": stylesheet(),
        "running_head": running_head(certificate),
        "script": script(),
    }


REPORTS.register("html")(Report(render, ".html", "One page for a reviewer: figures and all."))
