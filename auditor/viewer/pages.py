"""The registry of the viewer's pages: how what it found is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from auditor.core.registry import Registry
from auditor.viewer.overview import Overview
from auditor.viewer.progress import AuditProgress


@dataclass(frozen=True)
class Pages:
    """Functions from data to the HTML of each page.

    Equal arguments give equal text.

    Addresses in them are relative, so that no page holds the token.
    """

    overview: Callable[[Overview], str]
    audits: Callable[[Sequence[AuditProgress], datetime, bool], str]
    """Draws the page of all audits of one model on one forget set. Its arguments are the audits,
    the time, and whether the page loads itself again while one is under way."""
    notice: Callable[[str], str]
    """Draws a page with one sentence, in place of a page that cannot be shown."""
    script_source: str
    """Source expression (Content-Security-Policy) of the only script that a page of a certificate
    may run. The viewer's own pages run none."""


PAGES: Registry[Pages] = Registry("set of viewer pages", group="auditor.reports")
"""Sets of pages by name; ``html`` is the one that is served."""
