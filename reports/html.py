"""Certificate as one HTML file.

The only scripts are our own; the page needs no network, and all text in it is escaped.
"""

from typing import TYPE_CHECKING

from auditor.certificate.schema import Certificate
from auditor.report import REPORTS, Report, Signatures
from reports.audit_checks import audit_checks
from reports.image_examples import gallery
from reports.matrix import attack_views, front_views, tally
from reports.messages import scope_statement
from reports.page import environment, running_head, script, stylesheet
from reports.plots import plots
from reports.signatures import signature_state
from reports.summary import summary
from reports.threats import threats

if TYPE_CHECKING:  # a page by itself needs nothing of the viewer
    from auditor.viewer.pages import Beside


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Return the page. Equal arguments give equal text, byte for byte."""
    return _drawn("certificate.html.j2", certificate, signatures)


def render_beside(certificate: Certificate, signatures: Signatures | None, beside: "Beside") -> str:
    """Return the page with links to what lies beside it."""
    return _drawn("certificate.html.j2", certificate, signatures, beside=beside)


def render_full(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Return the page with nothing folded, on paper neither."""
    return _drawn("certificate.html.j2", certificate, signatures, full=True)


def render_summary(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Return the first page alone."""
    return _drawn("summary.html.j2", certificate, signatures)


def _drawn(
    template: str,
    certificate: Certificate,
    signatures: Signatures | None,
    *,
    full: bool = False,
    beside: "Beside | None" = None,
) -> str:
    rows = attack_views(certificate)
    told = [] if template == "summary.html.j2" else rows
    return (
        environment()
        .get_template(template)
        .render(
            plots=plots(certificate, told, shown=front_views(rows)),
            **content(certificate, signatures, full=full),
            beside=beside,
        )
    )


def content(
    certificate: Certificate, signatures: Signatures | None = None, *, full: bool = False
) -> dict[str, object]:
    """Return what the templates of the page show, but for the figures."""
    rows = attack_views(certificate)
    return {
        "c": certificate,
        "full": full,
        "sheet": summary(certificate, signatures),
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
REPORTS.register("full")(
    Report(render_full, ".full.html", "The same page with nothing folded, to be printed whole.")
)
REPORTS.register("summary")(
    Report(render_summary, ".summary.html", "The first page alone, on one printed sheet.")
)
