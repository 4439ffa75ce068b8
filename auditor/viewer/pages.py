"""The registry of the viewer's pages: how what it found is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from auditor.certificate.schema import Certificate
from auditor.core.registry import Registry
from auditor.report import Signatures
from auditor.viewer.evidence import EvidenceIndex
from auditor.viewer.overview import Overview
from auditor.viewer.progress import AuditProgress


@dataclass(frozen=True)
class Beside:
    """Relative addresses of the pages around a page."""

    overview: str
    certificate: str | None = None
    evidence: str | None = None


@dataclass(frozen=True)
class EvidenceData:
    """Where the data files of a page of evidence are."""

    folder: str
    """Relative address of their folder, with the slash at its end."""
    scripts: bool
    """Whether they are scripts, which a page on a disk can load, and not JSON."""


@dataclass(frozen=True)
class Pages:
    """Functions from data to the HTML of each page.

    Equal arguments give equal text.

    Addresses in them are relative, so that no page holds the token.
    """

    overview: Callable[[Overview, str], str]
    """Draws the first page. The text is what the addresses of other pages end with."""
    audits: Callable[[Sequence[AuditProgress], datetime, bool], str]
    """Draws the page of all audits of one model on one forget set. Its arguments are the audits,
    the time, and whether the page loads itself again while one is under way."""
    certificate: Callable[[Certificate, Signatures | None, Beside], str]
    """Draws the page of a certificate, with links to what lies beside it."""
    evidence: Callable[[EvidenceIndex, Beside, EvidenceData], str]
    """Draws the page of an audit's evidence, which asks for its data itself."""
    notice: Callable[[str], str]
    """Draws a page with one sentence, in place of a page that cannot be shown."""
    script_source: str
    """Source expression (Content-Security-Policy) of the only script that a page of a certificate
    may run. The viewer's own pages run none, but for those of evidence."""
    evidence_source: str
    """Source expression of the only script that a page of evidence may run."""


PAGES: Registry[Pages] = Registry("set of viewer pages", group="auditor.reports")
"""Sets of pages by name; ``html`` is the one that is served."""
